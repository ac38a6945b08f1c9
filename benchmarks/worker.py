"""Jobs through the whole system, beside the engine alone and a torch loop: `python -m benchmarks.worker [MODEL]`.

Everything is real: a private Redis with an fsync for each write, server and worker processes, jobs over gRPC. The
engine alone (a worker's runner, no queue) and torch draw before and after the jobs, so that a noisy machine slows all
of them. Redis' processor time is compared with one plain write per tick, the least that a commit could cost.
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
from benchmarks.candidates import SEED, Candidate, draws_a_batch
from benchmarks.command import Benchmark, drawing_model
from benchmarks.running_system import redis_seconds, run_system
from local.private_redis import PrivateRedis
from smalti.errors import SampleFailed
from smalti.randomness import uniforms
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model
from smalti.runtime.session import open_graph
from worker.runner import Runner
from worker.sample import Lane, Row

_TORCH_IMAGES = 5  # before the jobs, and as many after them
_ENGINE_BATCHES = 6  # before the jobs, and as many after them


@click.command(cls=Benchmark)
@click.argument("model", default="sprites-pixel-rnn")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--count", type=click.IntRange(1), default=1000, help="Samples in a job.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Processes.")
@click.option("--slots", type=click.IntRange(1), default=32, help="Of each worker.")
@click.option("--threads", type=click.IntRange(1), default=1, help="Of onnxruntime, within one operator.")
@click.option(
    "--jobs", type=click.IntRange(1), default=3, help="Jobs, one after another; figures are medians."
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
    """Measure samples per second of jobs of MODEL, from submit to the end of the job."""
    chosen = drawing_model(repository, model)
    alone = _engine(chosen, slots, threads)
    torch_before, before = _torch_rates(chosen), _rates(alone)
    with run_system(repository, model, workers=workers, slots=slots, SMALTI_THREADS=str(threads)) as running:
        running.draw(model, slots * workers)  # the first job is slower
        found = [running.drawing(model, lambda: running.draw(model, count)) for _ in range(jobs)]
    engine, loop = median([*before, *_rates(alone)]), rates_of_the_faster(torch_before, _torch_rates(chosen))
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
    click.echo(
        "to engine: one worker ÷ the engine alone; to torch: all workers ÷ a loop that draws one image"
    )
    given = {"model": model, "count": count, "workers": workers, "slots": slots, "threads": threads}
    machine.write(file, {**given, "figures": figures, "jobs": found})


def _engine(model: Model, slots: int, threads: int) -> Candidate:
    return draws_a_batch(_runner(model, slots, threads), model, slots)


def _runner(model: Model, slots: int, threads: int) -> Runner:
    return Runner(open_graph(model, GRAPH, provider=Provider(threads=threads)), model.manifest, slots=slots)


class _WritingRunner:
    """A runner that writes the bytes of each row to Redis while it draws the next one."""

    def __init__(self, runner: Runner, redis: Redis, width: int) -> None:
        self.warm = runner.warm
        self._runner, self._redis, self._width = runner, redis, width
        self._thread = ThreadPoolExecutor(max_workers=1)

    def draw_row(self, lanes: Sequence[Lane]) -> Sequence[Row | SampleFailed]:
        """Draw a row for each lane, and start to write them."""
        rows = self._runner.draw_row(lanes)
        self._thread.submit(self._redis.append, "rows", bytes(len(lanes) * self._width))
        return rows

    def close(self) -> None:
        """Wait for the last write."""
        self._thread.shutdown()


def _cores_for_one_write_a_tick(model: Model, slots: int, threads: int) -> float:
    with PrivateRedis() as private, Redis.from_url(private.url) as redis:
        writing = _WritingRunner(_runner(model, slots, threads), redis, model.manifest.width)
        draw = draws_a_batch(writing, model, slots)
        draw()  # the first one is slower
        before, started = redis_seconds(redis), perf_counter()
        for _ in range(_ENGINE_BATCHES):
            draw()
        writing.close()
        return (redis_seconds(redis) - before) / (perf_counter() - started)


def _rates(draw: Candidate) -> list[float]:
    draw()  # the first one is slower
    rates = []
    for _ in range(_ENGINE_BATCHES):
        started = perf_counter()
        samples = draw()
        rates.append(samples / (perf_counter() - started))
    return rates


def rates_of_the_faster(
    before: Mapping[int, Sequence[float]], after: Mapping[int, Sequence[float]]
) -> list[float]:
    """The rates, before and after, of the number of threads that was faster. Empty if nothing was measured."""
    rates = [[*before[threads], *after[threads]] for threads in after]
    return max(rates, key=median, default=[])


def _torch_rates(model: Model) -> Mapping[int, Sequence[float]]:
    """Samples per second of a few images, by number of torch threads. Empty without torch, and for int8."""
    if find_spec("torch") is None or model.manifest.quantisation:
        return {}
    import torch

    from benchmarks.torch_loop import torch_loop

    loop = torch_loop(model)
    numbers = uniforms(SEED, 0, 0, loop.height * loop.width)[None]
    rates = {}
    for threads in {1, os.cpu_count() or 1}:  # neither is always the faster
        torch.set_num_threads(threads)
        loop.draw(numbers)  # the first one is slower
        rates[threads] = [1 / _seconds(lambda: loop.draw(numbers)) for _ in range(_TORCH_IMAGES)]
    return rates


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


if __name__ == "__main__":
    main()
