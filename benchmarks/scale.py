"""How throughput grows: `python -m benchmarks.scale [MODEL]`, over gRPC, by slots, by workers, by queued jobs.

Beside each rate: how full the slots were, the share of the time that workers spent in onnxruntime, and what Redis
took of a core for each worker.
"""

from pathlib import Path
from time import perf_counter, sleep
from typing import NamedTuple

import click

from benchmarks import machine
from benchmarks.whole import Whole, running

LIMITS = {"SMALTI_MAX_QUEUED_JOBS": "20000"}
WINDOW_SECONDS = 8.0  # of drawing while jobs wait: they are not all drawn


class Setting(NamedTuple):
    """What is varied."""

    slots: int
    workers: int
    waiting: int  # jobs of one sample, submitted before

    def __str__(self) -> str:
        return f"{self.slots} slots, {self.workers} workers, {self.waiting} jobs waiting"


@click.command()
@click.argument("model", default="sprites-pixel-rnn-lecture")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--count", type=click.IntRange(1), default=1000, help="Samples of a job.")
@click.option("--slots", type=int, multiple=True, default=(1, 4, 16, 32, 64), show_default=True)
@click.option("--workers", type=int, multiple=True, default=(1, 2, 3), show_default=True)
@click.option("--waiting", type=int, multiple=True, default=(10, 1000, 10_000), show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    model: str,
    repository: Path,
    count: int,
    slots: tuple[int, ...],
    workers: tuple[int, ...],
    waiting: tuple[int, ...],
    file: Path | None,
) -> None:
    """Measure samples per second of a job of MODEL from submit to its end; fewer slots draw fewer samples."""
    settings = [
        *(Setting(number, 1, 0) for number in slots),
        *(Setting(32, number, 0) for number in workers if number > 1 or 32 not in slots),
        *(Setting(32, 1, number) for number in waiting),
    ]
    click.echo(f"{model}\n{machine.headline()}")
    found = {str(setting): _measure(model, repository, setting, count) for setting in settings}
    machine.write(file, {"model": model, "count": count, "settings": found})


def _measure(model: str, repository: Path, setting: Setting, count: int) -> dict[str, float]:
    samples = min(count, 32 * setting.slots)
    with running(repository, model, workers=setting.workers, slots=setting.slots, **LIMITS) as whole:
        whole.draw(model, setting.slots * setting.workers)  # warms everything
        figures = _drawing(whole, model, samples, setting)
    listed = "  ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
    click.echo(f"{setting!s:<44} {listed}")
    return figures


def _drawing(whole: Whole, model: str, samples: int, setting: Setting) -> dict[str, float]:
    if not setting.waiting:
        return whole.drawing(model, lambda: whole.draw(model, samples))
    started = perf_counter()
    for number in range(setting.waiting):
        whole.client.submit(model, count=1, seed=number)
    submits = setting.waiting / (perf_counter() - started)
    whole.client.submit(model, count=samples)  # behind them
    return whole.drawing(model, lambda: sleep(WINDOW_SECONDS)) | {"submits_per_second": submits}


if __name__ == "__main__":
    main()
