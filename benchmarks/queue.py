"""What calls of the job queue cost, on a private Redis with an fsync for each write: `python -m benchmarks.queue`."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Protocol, TypeVar

import click
from redis.asyncio import Redis

from benchmarks import machine
from benchmarks.command import Benchmark
from local.private_redis import PrivateRedis
from smalti.jobs.clients import ClientQueue
from smalti.jobs.connection import connect
from smalti.jobs.job import Claim, Finished, JobRequest, Progress
from smalti.jobs.limits import EVERYBODY
from smalti.jobs.store import QueueStore
from smalti.jobs.workers import WorkerQueue

ROWS, COLUMNS = 20, 20
Answer = TypeVar("Answer")


def request_for(count: int) -> JobRequest:
    return JobRequest(
        model="benchmark",
        version=1,
        digest="d" * 64,
        rows=ROWS,
        columns=COLUMNS,
        colours=167,
        count=count,
        seed=7,
    )


def rows_of(claims: list[Claim], row: int) -> list[Progress]:
    outcome = Finished(-1000.0) if row == ROWS - 1 else None
    return [
        Progress(
            job=claim.job,
            index=claim.index,
            token=claim.token,
            first_row=row,
            pixels=bytes(COLUMNS),
            outcome=outcome,
        )
        for claim in claims
    ]


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

    def figures(self) -> dict[str, dict[str, float]]:
        """Milliseconds of each call; the time in Redis is a median."""
        return {
            name: {
                "p50": 1e3 * median(seconds),
                "p95": 1e3 * quantiles(seconds, n=20)[-1],
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
    clients, workers = ClientQueue(store).of(EVERYBODY), WorkerQueue(store)
    claim = partial(workers.claim, worker, digests=["d" * 64], fingerprint="cpu", limit=slots)
    for sequence in range(repetitions):
        await time("submit", partial(clients.submit, request_for(slots)))
        claims = await time(f"claim of {slots}", partial(claim, sequence=sequence))
        for row in range(ROWS):
            name = "finish" if row == ROWS - 1 else "commit"
            await time(f"{name} of {slots}", partial(workers.commit, worker, rows_of(claims, row)))


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


@click.command(cls=Benchmark)
@click.option("--repetitions", type=click.IntRange(2), default=10)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(repetitions: int, file: Path | None) -> None:
    """Measure how long each call takes, and how much of that in Redis."""
    figures, lives = asyncio.run(_measure(repetitions))
    click.echo(
        f"{'call':<20} {'p50':>9} {'p95':>9} {'in Redis':>9}   (milliseconds; the time in Redis is a median)"
    )
    for name, found in figures.items():
        click.echo(f"{name:<20} {' '.join(f'{value:9.2f}' for value in found.values())}")
    for slots, life in lives.items():
        click.echo(f"a sample from submit to its end, {slots} at once: {life:.0f} μs of Redis' processor")
    machine.write(file, {"milliseconds": figures, "life_microseconds": lives})


async def _measure(repetitions: int) -> tuple[dict[str, dict[str, float]], dict[int, float]]:
    with PrivateRedis() as server:
        async with connect(server.url) as redis:
            store, watch, lives = QueueStore(redis), Stopwatch(redis), {}
            version = (await redis.info("server"))["redis_version"]
            click.echo(f"Redis {version}, appendfsync always, one client\n{machine.headline()}")
            for slots in (1, 32, 64, 256):
                await draw(store, f"worker-{slots}", watch.time, slots, repetitions)
                lives[slots] = await life_microseconds(store, redis, slots, repetitions)
            return watch.figures(), lives


if __name__ == "__main__":
    main()
