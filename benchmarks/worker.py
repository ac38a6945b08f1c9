"""A whole job through Redis and worker processes, beside a plain torch loop: `python -m benchmarks.worker [MODEL]`.

Everything is real: a private Redis with an fsync for each write, `python -m worker` once for each core, and one job
of 200 samples. Torch draws its images before and after, so that a noisy machine disturbs both alike.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter

import click

from benchmarks import machine
from smalti.jobs.connection import connect
from smalti.jobs.job import TERMINAL, Job, JobRequest, JobState
from smalti.jobs.queue import NO_WORKER, JobQueue
from smalti.private_redis import PrivateRedis
from smalti.randomness import uniforms
from smalti.repository import Manifest, Model, ModelRepository

SEED = 7
_LOOK_SECONDS = 0.02  # between two looks at the job
_START_SECONDS = 60.0  # of the worker, with its model
_TORCH_IMAGES = 5  # before the jobs, and again after them


@click.command()
@click.argument("model", default="sprites-pixel-rnn")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--count", type=click.IntRange(1), default=200, help="Samples in the job.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    help="Processes; by default one for each core.",
)
@click.option("--slots", type=click.IntRange(1), default=32, help="Of each worker.")
@click.option("--threads", type=click.IntRange(1), default=1, help="Of onnxruntime, within one operator.")
@click.option(
    "--jobs", type=click.IntRange(1), default=3, help="Jobs one after another; their median counts."
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
    """Measure samples per second of a job of MODEL from submit to its end."""
    chosen = ModelRepository(repository).load(model)
    before = _torch_rates(chosen)
    settings = _settings(model, repository, slots=slots, threads=threads)
    rates = _worker_rates(chosen, settings, workers=workers, count=count, jobs=jobs)
    loop = faster(before, _torch_rates(chosen))
    figures = {
        "model": model,
        "count": count,
        "workers": workers,
        "slots": slots,
        "threads": threads,
        "jobs": rates,
        "torch": loop,
    }
    click.echo(
        f"{model}: jobs of {count} samples; {workers} workers of {slots} slots and {threads} threads of onnxruntime"
    )
    click.echo(machine.headline())
    click.echo(
        f"workers behind Redis  {median(rates):8.2f} samples/s ({', '.join(f'{r:.2f}' for r in rates)})"
    )
    if loop:
        ratio = median(rates) / median(loop)
        click.echo(
            f"torch loop, one image {median(loop):8.2f} samples/s; the workers are {ratio:.1f} times as fast"
        )
        figures["ratio"] = ratio
    machine.write(file, figures)


def faster(before: Mapping[int, Sequence[float]], after: Mapping[int, Sequence[float]]) -> list[float]:
    """The rates of both measurements with that number of threads which was the faster; none where there are none."""
    rates = [[*before[threads], *after[threads]] for threads in after]
    return max(rates, key=median, default=[])


def _worker_rates(
    model: Model, settings: dict[str, str], *, workers: int, count: int, jobs: int
) -> list[float]:
    with PrivateRedis() as redis, ExitStack() as processes:
        for _ in range(workers):
            processes.enter_context(_worker(settings | {"SMALTI_REDIS_URL": redis.url}))
        return asyncio.run(_time_jobs(redis.url, _request(model.manifest, count), jobs, workers))


async def _time_jobs(url: str, request: JobRequest, jobs: int, workers: int) -> list[float]:
    async with connect(url) as redis:
        queue = JobQueue(redis)
        await _all_are_there(queue, workers)
        await _end_of(queue, await queue.submit(request))  # the first one warms everything
        rates = []
        for _ in range(jobs):
            started = perf_counter()
            await _end_of(queue, await queue.submit(request))
            rates.append(request.count / (perf_counter() - started))
        return rates


async def _all_are_there(queue: JobQueue, workers: int) -> None:
    started = perf_counter()
    while (await queue.depth()).workers < workers:
        if perf_counter() - started > _START_SECONDS:
            raise click.ClickException("Not every worker has started: their logs say why.")
        await asyncio.sleep(_LOOK_SECONDS)


async def _end_of(queue: JobQueue, job: Job) -> None:
    while job.state not in TERMINAL:
        await asyncio.sleep(_LOOK_SECONDS)
        job = await queue.get(job.id)
        if job.reason == NO_WORKER:
            raise click.ClickException("No worker has this model: its log says why.")
    if job.state is not JobState.SUCCEEDED:
        raise click.ClickException(
            f"The job ended {job.state}: {job.failed} of {job.request.count} samples failed."
        )


@contextmanager
def _worker(settings: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "worker"], env=os.environ | settings)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _settings(name: str, repository: Path, *, slots: int, threads: int) -> dict[str, str]:
    return {
        "SMALTI_MODEL_REPOSITORY": str(repository),
        "SMALTI_MODELS": name,
        "SMALTI_SLOTS": str(slots),
        "SMALTI_THREADS": str(threads),
        "SMALTI_METRICS_PORT": "0",
        "SMALTI_LOG_LEVEL": "warning",
    }


def _request(manifest: Manifest, count: int) -> JobRequest:
    return JobRequest(
        model=manifest.name,
        version=manifest.version,
        digest=manifest.digest,
        rows=manifest.height,
        columns=manifest.width,
        colours=len(manifest.palette),
        count=count,
        seed=SEED,
    )


def _torch_rates(model: Model) -> Mapping[int, Sequence[float]]:
    """Samples per second of each of a few images, by threads of torch; none without torch."""
    if find_spec("torch") is None:
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
