"""Jobs through the whole system, beside the engine alone and a plain torch loop: `python -m benchmarks.worker [MODEL]`.

Everything is real: a private Redis with an fsync for each write, server and worker processes, jobs over gRPC. The
engine alone (a worker's runner, no queue) and torch draw before and after, so that a noisy machine disturbs all alike.
What Redis needs is compared with one plain write for each tick of an engine: no commit could be less.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter

import click
from redis import Redis

from benchmarks import machine
from benchmarks.engine import SEED, Candidate, drawing
from benchmarks.whole import redis_seconds, running
from local.private_redis import PrivateRedis
from smalti.errors import SampleFailed
from smalti.randomness import uniforms
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model, ModelRepository
from smalti.runtime.session import open_graph
from worker.runner import Runner
from worker.sample import Lane, Row

_TORCH_IMAGES = 5  # before the jobs, and again after them
_ENGINE_BATCHES = 6  # likewise


@click.command()
@click.argument("model", default="sprites-pixel-rnn")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--count", type=click.IntRange(1), default=1000, help="Samples in a job.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Processes.")
@click.option("--slots", type=click.IntRange(1), default=32, help="Of each worker.")
@click.option("--threads", type=click.IntRange(1), default=1, help="Of onnxruntime, within one operator.")
@click.option(
    "--jobs", type=click.IntRange(1), default=3, help="Jobs one after another; their medians count."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    model: str,
    repository: Path,
    count: int,
    workers: int,
    slots: int,
    threads: int,
    jobs: int,
    file: Path | None,
) -> None:
    """Measure samples per second of jobs of MODEL from submit to their end."""
    chosen = ModelRepository(repository).load(model)
    alone = _engine(chosen, slots, threads)
    torch_before, before = _torch_rates(chosen), _rates(alone)
    with running(repository, model, workers=workers, slots=slots, SMALTI_THREADS=str(threads)) as whole:
        whole.draw(model, slots * workers)  # warms everything
        found = [whole.drawing(model, lambda: whole.draw(model, count)) for _ in range(jobs)]
    engine, loop = median([*before, *_rates(alone)]), faster(torch_before, _torch_rates(chosen))
    figures = {name: median(job[name] for job in found) for name in found[0]}
    figures["redis_cores_for_one_write_a_tick"] = _cores_for_one_write_a_tick(chosen, slots, threads)
    figures["engine_samples_per_second"] = engine
    figures["to_engine"] = figures["samples_per_second"] / workers / engine
    if loop:
        figures["torch_samples_per_second"] = median(loop)
        figures["to_torch"] = figures["samples_per_second"] / median(loop)
    click.echo(
        f"{model}: jobs of {count} samples; {workers} workers of {slots} slots and {threads} threads of onnxruntime"
    )
    click.echo(machine.headline())
    for name, figure in figures.items():
        click.echo(f"{name.replace('_', ' '):<34} {figure:10.3f}")
    click.echo("to engine: of each worker, to the engine alone; to torch: of all, to a loop of one image")
    given = {"model": model, "count": count, "workers": workers, "slots": slots, "threads": threads}
    machine.write(file, {**given, "figures": figures, "jobs": found})


def _engine(model: Model, slots: int, threads: int) -> Candidate:
    return drawing(_runner(model, slots, threads), model, slots)


def _runner(model: Model, slots: int, threads: int) -> Runner:
    return Runner(open_graph(model, GRAPH, provider=Provider(threads=threads)), model.manifest, slots=slots)


class _Writing:
    """A runner that has Redis write as many bytes as a commit brings, while the next tick is drawn."""

    def __init__(self, runner: Runner, redis: Redis, width: int) -> None:
        self.warm = runner.warm
        self._runner, self._redis, self._width = runner, redis, width
        self._thread = ThreadPoolExecutor(max_workers=1)

    def draw_row(self, lanes: Sequence[Lane]) -> Sequence[Row | SampleFailed]:
        """A row for each lane, and the write of the last one begun."""
        rows = self._runner.draw_row(lanes)
        self._thread.submit(self._redis.append, "rows", bytes(len(lanes) * self._width))
        return rows

    def close(self) -> None:
        """Wait until all is written."""
        self._thread.shutdown()


def _cores_for_one_write_a_tick(model: Model, slots: int, threads: int) -> float:
    with PrivateRedis() as private, Redis.from_url(private.url) as redis:
        writing = _Writing(_runner(model, slots, threads), redis, model.manifest.width)
        draw = drawing(writing, model, slots)
        draw()  # warms everything
        before, started = redis_seconds(redis), perf_counter()
        for _ in range(_ENGINE_BATCHES):
            draw()
        writing.close()
        return (redis_seconds(redis) - before) / (perf_counter() - started)


def _rates(draw: Candidate) -> list[float]:
    draw()  # the first one warms caches
    rates = []
    for _ in range(_ENGINE_BATCHES):
        started = perf_counter()
        samples = draw()
        rates.append(samples / (perf_counter() - started))
    return rates


def faster(before: Mapping[int, Sequence[float]], after: Mapping[int, Sequence[float]]) -> list[float]:
    """The rates of both measurements with that number of threads which was the faster; none where there are none."""
    rates = [[*before[threads], *after[threads]] for threads in after]
    return max(rates, key=median, default=[])


def _torch_rates(model: Model) -> Mapping[int, Sequence[float]]:
    """Samples per second of each of a few images, by threads of torch; none without torch, or in int8."""
    if find_spec("torch") is None or model.manifest.quantisation:
        return {}
    import torch

    from benchmarks.torch_loop import torch_loop

    loop = torch_loop(model)
    numbers = uniforms(SEED, 0, 0, loop.height * loop.width)[None]
    rates = {}
    for threads in {1, os.cpu_count() or 1}:  # neither is always the faster
        torch.set_num_threads(threads)
        loop.draw(numbers)  # the first one warms caches
        rates[threads] = [1 / _seconds(lambda: loop.draw(numbers)) for _ in range(_TORCH_IMAGES)]
    return rates


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


if __name__ == "__main__":
    main()
