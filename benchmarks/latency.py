"""How long a user waits over gRPC, with one worker: `python -m benchmarks.latency [MODEL]`.

Measured: from submit until a watcher sees the first row, from `DrawStream` to the first row, and one-shot requests; on
an idle system, and while a job keeps every slot of the worker busy.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import click
import numpy as np

from benchmarks import machine
from benchmarks.command import Benchmark, drawing_model, latent_model
from benchmarks.running_system import BACKLOG, RunningSystem, run_system
from smalti.client.values import DrawnRows, SampleRows


@click.command(cls=Benchmark)
@click.argument("model", default="sprites-pixel-rnn")
@click.option("--one-shot", default="sprites-vae", show_default=True, help="The model for one-shot requests.")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--slots", type=click.IntRange(1), default=32)
@click.option(
    "--times",
    type=click.IntRange(2),
    default=30,
    help="Number of jobs; there are ten times as many one-shot requests.",
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(model: str, one_shot: str, repository: Path, slots: int, times: int, file: Path | None) -> None:
    """Measure milliseconds until the first row of MODEL, and of one-shot requests."""
    drawing_model(repository, model)
    latent_model(repository, one_shot)
    with run_system(repository, model, slots=slots) as running:
        running.draw(model, slots)  # the first job is slower
        calls: dict[str, Callable[[], object]] = {
            "submit to first row at a watcher": lambda: _first_row_of_job(running, model),
            "DrawStream to first row": lambda: first_row_of_stream(running, model),
            "one-shot request": lambda: running.client.draw(one_shot, count=1),
        }
        found = {f"{name}, idle": milliseconds(call, _times(name, times)) for name, call in calls.items()}
        job = running.client.submit(model, count=BACKLOG)
        first_row_of_stream(running, model)  # by then the slots are full
        found["tick, busy"] = _ticks(running, model, calls["one-shot request"])
        del calls["submit to first row at a watcher"]  # a standard job waits for a free slot
        found |= {f"{name}, busy": milliseconds(call, _times(name, times)) for name, call in calls.items()}
        running.client.cancel(job.id)
    click.echo(f"{model}, one worker of {slots} slots\n{machine.headline()}")
    for name, figures in found.items():
        click.echo(f"{name:<40} " + "  ".join(f"{key} {value:.1f} ms" for key, value in figures.items()))
    machine.write(file, {"model": model, "one_shot": one_shot, "slots": slots, "milliseconds": found})


def _times(name: str, times: int) -> int:
    return 10 * times if name.startswith("one-shot") else times


def milliseconds(call: Callable[[], object], times: int) -> dict[str, float]:
    """Call `times` times; return p50 and p99."""
    spent = []
    for _ in range(times):
        started = perf_counter()
        call()
        spent.append(1e3 * (perf_counter() - started))
    p50, p99 = np.quantile(spent, [0.5, 0.99])
    return {"p50": float(p50), "p99": float(p99)}


def _first_row_of_job(running: RunningSystem, model: str) -> None:
    job = running.client.submit(model, count=1)
    events = running.client.watch(job.id, rows=True)
    next(event for event in events if isinstance(event, SampleRows))
    running.client.cancel(job.id)


def first_row_of_stream(running: RunningSystem, model: str) -> None:
    """Ask for an image, and wait for its first row."""
    next(event for event in running.client.draw_stream(model) if isinstance(event, DrawnRows))


def _ticks(running: RunningSystem, model: str, request: Callable[[], object]) -> dict[str, float]:
    """The mean tick over at least a second, while other requests are answered."""
    seconds, count = _tick_sums(running, model)
    started = perf_counter()
    while perf_counter() - started < 1.0 or _tick_sums(running, model)[1] == count:
        request()
    after, ticks = _tick_sums(running, model)
    return {"mean": 1e3 * (after - seconds) / (ticks - count)}


def _tick_sums(running: RunningSystem, model: str) -> tuple[float, float]:
    """The total seconds and the number of all ticks so far."""
    return (
        running.workers("smalti_tick_seconds_sum", model=model),
        running.workers("smalti_tick_seconds_count", model=model),
    )


if __name__ == "__main__":
    main()
