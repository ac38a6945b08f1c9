"""Get beside thousands of Watch streams: `python -m benchmarks.watchers [--watchers 5000 --jobs 50]`."""

import asyncio
import multiprocessing
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import grpc

from benchmarks import machine
from benchmarks.command import Benchmark, drawing_model
from benchmarks.quantiles import milliseconds
from benchmarks.running_server import cpu_seconds
from benchmarks.running_system import resident_megabytes, run_system
from benchmarks.toy_worker import ToyWorker, black_rows
from smalti.client import Client
from smalti.jobs.connection import connect
from smalti.jobs.job import Claim
from smalti.jobs.store import QueueStore
from smalti.jobs.workers import WorkerQueue
from smalti.v1 import jobs_pb2, jobs_pb2_grpc

_STREAMS_PER_CONNECTION = 250  # fewer than the server takes
_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
_START_SECONDS = 300.0
_SAMPLES = 60  # of each job: with rows about every 30 ms, enough for half a minute
_SPAWN = multiprocessing.get_context("spawn")  # gRPC must not be forked


@click.command(cls=Benchmark)
@click.argument("model", default="sprites-pixel-rnn")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--watchers", default=5000, show_default=True)
@click.option("--jobs", "job_count", default=50, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="For each measurement.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    model: str, repository: Path, watchers: int, job_count: int, seconds: float, file: Path | None
) -> None:
    """Measure Get alone, beside watchers of waiting jobs, and beside watchers of jobs that change all the time.

    Each watcher wants rows. The watchers and whoever commits rows are processes of their own on the same cores, so busy
    cores are part of every figure.
    """
    digest = drawing_model(repository, model).manifest.digest
    click.echo(machine.headline())
    found: dict[str, Any] = {}
    most = str(watchers)
    with run_system(
        repository, model, workers=0, SMALTI_MAX_WATCHERS=most, SMALTI_MAX_WATCHERS_PER_JOB=most
    ) as running:
        address, server = running.system.address, running.system.pids["server"]
        jobs = [running.client.submit(model, count=_SAMPLES).id for _ in range(job_count)]
        before = resident_megabytes(server)
        found["alone"] = _measure(address, server, jobs[0], seconds)
        with _process(_hold, address, jobs, watchers) as events:
            found["waiting"] = _measure(address, server, jobs[0], seconds)
            found["kilobytes_per_watcher"] = 1000 * (resident_megabytes(server) - before) / watchers
            with _process(_draw, running.redis_url, digest, job_count) as changes:
                seen, changed = events.value, changes.value
                found["changing"] = _measure(address, server, jobs[0], seconds)
                found["changing"]["events_per_second"] = (events.value - seen) / seconds
                found["changing"]["changes_per_second"] = (changes.value - changed) / seconds
    for name in ("alone", "waiting", "changing"):
        _print(name, found[name])
    click.echo(f"{found['kilobytes_per_watcher']:.0f} kB of the server for each watcher")
    machine.write(file, {"watchers": watchers, "jobs": job_count, **found})


def _measure(address: str, server: int, job_id: str, seconds: float) -> dict[str, float]:
    """The latency of Get, one after another, and what the server uses meanwhile."""
    latencies: list[float] = []
    with Client(address) as client:
        client.get_job(job_id)
        used, end = cpu_seconds(server), perf_counter() + seconds
        while (start := perf_counter()) < end:
            client.get_job(job_id)
            latencies.append(perf_counter() - start)
        used = cpu_seconds(server) - used
    return {
        "gets": len(latencies),
        "p50_milliseconds": milliseconds(latencies, 0.5),
        "p99_milliseconds": milliseconds(latencies, 0.99),
        "server_cores": used / seconds,
    }


@contextmanager
def _process(work: Any, *arguments: Any) -> Iterator[Any]:
    """Run it in a process of its own until the block ends; yields the number that it counts up."""
    ready, stop, count = _SPAWN.Event(), _SPAWN.Event(), _SPAWN.Value("q", 0)
    process = _SPAWN.Process(target=_run, args=(work, ready, stop, count, arguments), daemon=True)
    process.start()
    try:
        if not ready.wait(_START_SECONDS):
            raise click.ClickException(
                f"The processes of the benchmark did not start in {_START_SECONDS:.0f} s."
            )
        yield count
    finally:
        stop.set()
        process.join(10)
        process.kill()


def _run(work: Any, ready: Event, stop: Event, count: Any, arguments: Sequence[Any]) -> None:
    asyncio.run(work(ready, stop, count, *arguments))


async def _hold(
    ready: Event, stop: Event, count: Any, address: str, jobs: Sequence[str], watchers: int
) -> None:
    """Hold so many Watch streams, and count their events."""
    needed = -(-watchers // _STREAMS_PER_CONNECTION)
    channels = [grpc.aio.insecure_channel(address, _OPTIONS) for _ in range(needed)]
    stubs: list[Any] = [jobs_pb2_grpc.JobServiceStub(channel) for channel in channels]
    begun = asyncio.Semaphore(64)  # at once

    async def begin(number: int) -> Any:
        async with begun:
            request = jobs_pb2.WatchRequest(id=jobs[number % len(jobs)], rows=True)
            call = stubs[number % needed].Watch(request)
            await anext(aiter(call))
            return call

    async def follow(call: Any) -> None:
        async for _ in call:
            count.value += 1

    calls = await asyncio.gather(*map(begin, range(watchers)))
    following = [asyncio.create_task(follow(call)) for call in calls]
    ready.set()
    await asyncio.to_thread(stop.wait)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)


async def _draw(ready: Event, stop: Event, count: Any, redis_url: str, digest: str, jobs: int) -> None:
    """Commit a row of every job about every 30 ms, and count the rows of each job."""
    async with connect(redis_url) as redis:
        queue = WorkerQueue(QueueStore(redis))
        toy = ToyWorker(queue, "benchmark", digest=digest, slots=jobs * _SAMPLES)
        claims = await toy.claim(jobs * _SAMPLES)
        ready.set()
        for together in zip(*_by_job(claims), strict=True):  # a sample of each job
            for row in range(together[0].request.rows):
                await queue.commit("benchmark", [black_rows(claim, row, row + 1) for claim in together])
                count.value += 1
                await asyncio.sleep(0.03)
                if stop.is_set():
                    return


def _by_job(claims: Sequence[Claim]) -> list[list[Claim]]:
    found: defaultdict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        found[claim.job].append(claim)
    return list(found.values())


def _print(name: str, found: dict[str, float]) -> None:
    line = (
        f"{name:<9} Get p50 {found['p50_milliseconds']:.1f} ms  p99 {found['p99_milliseconds']:.1f} ms"
        f"  ({found['gets']} calls); server {found['server_cores']:.2f} cores"
    )
    if "events_per_second" in found:
        line += (
            f"; {found['changes_per_second']:.0f} changes of each job and"
            f" {found['events_per_second']:.0f} events sent a second"
        )
    click.echo(line)


if __name__ == "__main__":
    main()
