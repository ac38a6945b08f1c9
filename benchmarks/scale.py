"""Throughput over gRPC by slots, by workers and by waiting jobs: `python -m benchmarks.scale [MODEL]`.

Printed beside each rate: how full the slots were, the share of the time that workers spent in onnxruntime, and the part
of a core that Redis used for each worker.
"""

from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

import click

from benchmarks import machine
from benchmarks.command import Benchmark, drawing_model
from benchmarks.running_system import BACKLOG, RunningSystem, run_system

LIMITS = {"SMALTI_MAX_QUEUED_JOBS": "20000"}


class Setting(NamedTuple):
    """One combination to measure."""

    slots: int
    workers: int
    waiting: int  # jobs of one sample, submitted before the measurement

    def __str__(self) -> str:
        return f"{self.slots} slots, {self.workers} workers, {self.waiting} jobs waiting"


@click.command(cls=Benchmark)
@click.argument("model", default="sprites-pixel-rnn-lecture")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--count", type=click.IntRange(1), default=1000, help="Samples of a job.")
@click.option("--slots", type=int, multiple=True, default=(1, 4, 16, 32, 64), show_default=True)
@click.option("--workers", type=int, multiple=True, default=(1, 2, 3), show_default=True)
@click.option("--waiting", type=int, multiple=True, default=(10, 1000, 10_000), show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=8.0,
    show_default=True,
    help="How long to measure while jobs wait.",
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    model: str,
    repository: Path,
    count: int,
    slots: tuple[int, ...],
    workers: tuple[int, ...],
    waiting: tuple[int, ...],
    seconds: float,
    file: Path | None,
) -> None:
    """Measure samples per second of jobs of MODEL. With few slots, the job is smaller: 32 samples a slot."""
    drawing_model(repository, model)
    settings = [
        *(Setting(number, 1, 0) for number in slots),
        *(Setting(32, number, 0) for number in workers if number > 1 or 32 not in slots),
        *(Setting(32, 1, number) for number in waiting),
    ]
    click.echo(f"{model}\n{machine.headline()}")
    found = {str(setting): _measure(model, repository, setting, count, seconds) for setting in settings}
    machine.write(file, {"model": model, "count": count, "settings": found})


def _measure(model: str, repository: Path, setting: Setting, count: int, seconds: float) -> dict[str, float]:
    with run_system(repository, model, workers=setting.workers, slots=setting.slots, **LIMITS) as running:
        running.draw(model, setting.slots * setting.workers)  # the first job is slower
        if setting.waiting:
            figures = _while_jobs_wait(running, model, setting.waiting, seconds)
        else:
            samples = min(count, 32 * setting.slots)
            figures = running.drawing(model, lambda: running.draw(model, samples))
    listed = "  ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
    click.echo(f"{setting!s:<44} {listed}")
    return figures


def _while_jobs_wait(running: RunningSystem, model: str, jobs: int, seconds: float) -> dict[str, float]:
    started = perf_counter()
    for number in range(jobs):
        running.client.submit(model, count=1, seed=number)
    submits = jobs / (perf_counter() - started)
    running.client.submit(model, count=BACKLOG)  # behind them, so that the worker has samples to the end
    return running.drawing(model, lambda: sleep(seconds)) | {"submits_per_second": submits}


if __name__ == "__main__":
    main()
