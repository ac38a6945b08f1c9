"""How long a person waits: `python -m benchmarks.latency [MODEL]`, over gRPC, one worker.

From submit until a watcher sees the first row, and for one-shot requests, both on an idle system and beside a job
that keeps every slot of the worker busy.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import click
import numpy as np

from benchmarks import machine
from benchmarks.whole import Whole, running
from smalti.client.values import DrawnRows, SampleRows

BACKLOG = 100_000  # samples: more than are drawn while this runs


@click.command()
@click.argument("model", default="sprites-pixel-rnn")
@click.option("--one-shot", default="sprites-vae", show_default=True, help="The model for one-shot requests.")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--slots", type=click.IntRange(1), default=32)
@click.option(
    "--times", type=click.IntRange(2), default=30, help="Jobs; ten times as many one-shot requests."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(model: str, one_shot: str, repository: Path, slots: int, times: int, file: Path | None) -> None:
    """Measure milliseconds until the first row of MODEL."""
    with running(repository, model, slots=slots) as whole:
        whole.draw(model, slots)  # warms everything
        asked: dict[str, Callable[[], object]] = {
            "submit to first row at a watcher": lambda: _first_row_of_job(whole, model),
            "DrawStream to first row": lambda: first_row_of_stream(whole, model),
            "one-shot request": lambda: whole.client.draw(one_shot, count=1),
        }
        found = {f"{name}, idle": milliseconds(call, _times(name, times)) for name, call in asked.items()}
        job = whole.client.submit(model, count=BACKLOG)
        first_row_of_stream(whole, model)  # by then the slots are full
        found["tick, busy"] = _ticks(whole, model, asked["one-shot request"])
        del asked["submit to first row at a watcher"]  # it waits for its turn, as it should
        found |= {f"{name}, busy": milliseconds(call, _times(name, times)) for name, call in asked.items()}
        whole.client.cancel(job.id)
    click.echo(f"{model}, one worker of {slots} slots\n{machine.headline()}")
    for name, figures in found.items():
        click.echo(f"{name:<40} " + "  ".join(f"{key} {value:.1f} ms" for key, value in figures.items()))
    machine.write(file, {"model": model, "one_shot": one_shot, "slots": slots, "milliseconds": found})


def _times(name: str, times: int) -> int:
    return 10 * times if name.startswith("one-shot") else times


def milliseconds(call: Callable[[], object], times: int) -> dict[str, float]:
    """How long so many calls took: p50 and p99."""
    spent = []
    for _ in range(times):
        started = perf_counter()
        call()
        spent.append(1e3 * (perf_counter() - started))
    p50, p99 = np.quantile(spent, [0.5, 0.99])
    return {"p50": float(p50), "p99": float(p99)}


def _first_row_of_job(whole: Whole, model: str) -> None:
    job = whole.client.submit(model, count=1)
    events = whole.client.watch(job.id, rows=True)
    next(event for event in events if isinstance(event, SampleRows))
    whole.client.cancel(job.id)


def first_row_of_stream(whole: Whole, model: str) -> None:
    """Ask for a picture, and wait for its first row."""
    next(event for event in whole.client.draw_stream(model) if isinstance(event, DrawnRows))


def _ticks(whole: Whole, model: str, between: Callable[[], object]) -> dict[str, float]:
    """The mean tick of a second or more while other requests go on."""
    seconds, count = _tick_sums(whole, model)
    started = perf_counter()
    while perf_counter() - started < 1.0 or _tick_sums(whole, model)[1] == count:
        between()
    after, ticks = _tick_sums(whole, model)
    return {"mean": 1e3 * (after - seconds) / (ticks - count)}


def _tick_sums(whole: Whole, model: str) -> tuple[float, float]:
    """The seconds of all ticks so far, and how many there were."""
    return (
        whole.workers("smalti_tick_seconds_sum", model=model),
        whole.workers("smalti_tick_seconds_count", model=model),
    )


if __name__ == "__main__":
    main()
