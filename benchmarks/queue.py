"""What calls of the job queue cost, on a private Redis: `python -m benchmarks.queue`."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Protocol, TypeVar

import click
from redis.asyncio import Redis

from benchmarks import machine
from benchmarks.command import Benchmark
from benchmarks.quantiles import milliseconds
from benchmarks.toy_worker import ToyWorker
from local.private_redis import PrivateRedis
from smalti.jobs.clients import ClientQueue
from smalti.jobs.connection import connect
from smalti.jobs.job import JobRequest
from smalti.jobs.limits import EVERYBODY, QueueLimits
from smalti.jobs.store import QueueStore
from smalti.jobs.workers import WorkerQueue

ROWS, COLUMNS = 20, 20
DIGEST = "d" * 64
Answer = TypeVar("Answer")


def request_for(count: int) -> JobRequest:
    return JobRequest(
        model="benchmark",
        version=1,
        digest=DIGEST,
        rows=ROWS,
        columns=COLUMNS,
        colours=167,
        count=count,
        seed=7,
    )


class Stopwatch:
    """Times each call as its caller sees it, and its scripts as Redis counts them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._seconds: dict[str, list[float]] = {}
        self._in_redis: dict[str, list[float]] = {}

    async def time(self, name: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
        before = await self._script_seconds()
        started = perf_counter()
        answer = await call()
        self._seconds.setdefault(name, []).append(perf_counter() - started)
        self._in_redis.setdefault(name, []).append(await self._script_seconds() - before)
        return answer

    def named(self, form: str) -> "Time":
        """The same with longer names."""

        async def time(name: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
            return await self.time(form.format(name), call)

        return time

    def figures(self) -> dict[str, dict[str, float]]:
        """Milliseconds of each call; the time in Redis is a median."""
        return {
            name: {
                "p50": 1e3 * median(seconds),
                "p99": milliseconds(seconds, 0.99),
                "in Redis": 1e3 * median(self._in_redis[name]),
            }
            for name, seconds in self._seconds.items()
        }

    async def _script_seconds(self) -> float:
        statistics = await self._redis.info("commandstats")
        used = (statistics.get(f"cmdstat_{name}", {"usec": 0})["usec"] for name in ("eval", "evalsha"))
        return float(sum(used)) / 1e6


class Time(Protocol):
    """Makes a call, and may time it."""

    def __call__(self, name: str, call: Callable[[], Awaitable[Answer]], /) -> Awaitable[Answer]:
        """Return the answer of the call."""
        ...


async def draw(store: QueueStore, worker: str, time: Time, slots: int, repetitions: int) -> None:
    """Submit, claim and finish jobs one after another, each with as many samples as there are slots."""
    clients = ClientQueue(store).of(EVERYBODY)
    toy = ToyWorker(WorkerQueue(store), worker, digest=DIGEST, slots=slots)
    for _ in range(repetitions):
        await time("submit", partial(clients.submit, request_for(slots)))
        await time(f"claim of {slots}", toy.fill)
        for row in range(ROWS):
            name = "finish" if row == ROWS - 1 else "commit"
            await time(f"{name} of {slots}", toy.commit)


async def _untimed(_: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
    return await call()


async def life_microseconds(store: QueueStore, redis: Redis, slots: int, repetitions: int) -> float:
    """Microseconds of Redis' processor per sample, from submit to its end, with fsyncs; a median."""
    found = []
    for number in range(repetitions):
        before = await _processor_seconds(redis)
        await draw(store, f"life-{slots}-{number}", _untimed, slots, 1)
        found.append(1e6 * (await _processor_seconds(redis) - before) / slots)
    return median(found)


async def _processor_seconds(redis: Redis) -> float:
    used = await redis.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


async def bytes_of_a_queued_job(store: QueueStore, redis: Redis, jobs: int) -> float:
    """Bytes of Redis' memory for a queued job of 10,000 samples."""
    clients = ClientQueue(store, limits=QueueLimits(pixels=10**12)).of(EVERYBODY)
    before = (await redis.info("memory"))["used_memory"]
    for _ in range(jobs):
        await clients.submit(request_for(10_000))
    return float((await redis.info("memory"))["used_memory"] - before) / jobs


@click.command(cls=Benchmark)
@click.option("--repetitions", type=click.IntRange(2), default=10)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(repetitions: int, file: Path | None) -> None:
    """Measure how long each call takes, how much of that in Redis, and how much memory a queued job takes."""
    click.echo(machine.headline())
    found = asyncio.run(_measure(repetitions))
    click.echo(f"{'call':<33} {'p50':>9} {'p99':>9} {'in Redis':>9}   (ms; the time in Redis is a median)")
    for name, figures in found.milliseconds.items():
        click.echo(f"{name:<33} {' '.join(f'{value:9.2f}' for value in figures.values())}")
    for slots, life in found.life_microseconds.items():
        click.echo(f"a sample from submit to its end, {slots} at once: {life:.0f} μs of Redis' processor")
    click.echo(f"a queued job of 10,000 samples: {found.job_bytes:.0f} bytes of Redis' memory")
    machine.write(file, asdict(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The figures."""

    milliseconds: dict[str, dict[str, float]]
    life_microseconds: dict[int, float]
    job_bytes: float


async def _measure(repetitions: int) -> Found:
    with PrivateRedis() as server:
        async with connect(server.url) as redis:
            store, watch, lives = QueueStore(redis), Stopwatch(redis), {}
            version = (await redis.info("server"))["redis_version"]
            click.echo(f"Redis {version}, one client; appendfsync always, if nothing else is said")
            for slots in (1, 32, 64, 256):
                await draw(store, f"worker-{slots}", watch.time, slots, repetitions)
                lives[slots] = await life_microseconds(store, redis, slots, repetitions)
            await redis.config_set("appendfsync", "no")
            await draw(store, "unsynced", watch.named("{}, without fsync"), 64, repetitions)
            return Found(
                milliseconds=watch.figures(),
                life_microseconds=lives,
                job_bytes=await bytes_of_a_queued_job(store, redis, 100 * repetitions),
            )


if __name__ == "__main__":
    main()
