"""The longest that each script keeps Redis busy, at the largest settings allowed: `python -m benchmarks.scripts`.

While a script runs, Redis answers nobody else. Shown for each script are its longest time in the slow log, the most of
Redis' processor, with reading the call and writing the answer, and the most commands that one call ran. A busy machine
stops Redis in the middle of a script, which shows in the first time only. All is done several times; the best round is
shown.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import click

from benchmarks import machine
from benchmarks.command import Benchmark
from local.private_redis import PrivateRedis
from smalti.jobs import script
from smalti.jobs.auditing import QueueAudit
from smalti.jobs.clients import ClientQueue
from smalti.jobs.connection import connect
from smalti.jobs.job import Claim, Finished, Job, JobRequest, Progress, Released
from smalti.jobs.keys import CHUNK
from smalti.jobs.limits import UNSAID, ClientLimits, QueueLimits
from smalti.jobs.script import Script
from smalti.jobs.store import QueueStore
from smalti.jobs.upkeep import QueueUpkeep
from smalti.jobs.workers import WorkerQueue

LIMIT_MS = 5.0
DIGEST = "d" * 64
_LOGGED_MICROSECONDS = 50  # shorter calls are of no interest
_LOG_LENGTH = 20_000
_OWN_COMMANDS = 4  # of Metered between two looks at how many commands Redis ran: EVALSHA and INFO
_NO_LIMITS = QueueLimits(jobs=10**15, pixels=10**15, result_bytes=10**15)


@dataclass(frozen=True, kw_only=True)
class Largest:
    """How large everything is.

    The defaults are the largest that settings and manifests allow. Jobs, clients and workers have no limit: for these
    they are what one Redis may have to carry.
    """

    slots: int = 4096
    side: int = 1024  # of a picture, in pixels
    samples: int = 1_000_000  # of a job
    jobs: int = 10_000
    clients: int = 1_000
    workers: int = 1_000


class Worst(NamedTuple):
    """The worst calls of a script."""

    logged_ms: float  # by the slow log; 0 if none was long enough for it
    processor_ms: float
    commands: float

    @classmethod
    def best(cls, rounds: Sequence[Self]) -> Self:
        """The best of several rounds, for each of the times."""
        return cls(*map(min, zip(*rounds, strict=True)))


@dataclass(frozen=True, slots=True)
class Someone:
    """A client by its name."""

    name: str = ""
    sees_all: bool = True
    limits: ClientLimits = UNSAID


@dataclass(slots=True)
class Pool:
    """A queue on a Redis, and the worst call of each script on it so far."""

    redis: Any
    store: QueueStore
    logged_ms: dict[str, float] = field(default_factory=dict)
    _sequence: "count[int]" = field(default_factory=count)

    def of(self, client: str = "") -> Any:
        """The jobs of a client."""
        return ClientQueue(self.store, limits=_NO_LIMITS).of(Someone(client))

    @property
    def workers(self) -> WorkerQueue:
        """The queue as workers have it."""
        return WorkerQueue(self.store)

    @property
    def upkeep(self) -> QueueUpkeep:
        """Its upkeep."""
        return QueueUpkeep(self.store)

    async def claim(self, worker: str, number: int) -> list[Claim]:
        """So many samples, or all there are; as a worker does, in as many calls as that needs."""
        claims: list[Claim] = []
        while len(claims) < number and (found := await self._claim(worker, number - len(claims))):
            claims += found
        return claims

    async def _claim(self, worker: str, number: int) -> list[Claim]:
        return await self.workers.claim(
            worker,
            sequence=next(self._sequence),
            digests=[DIGEST],
            fingerprint="cpu",
            limit=number,
            slots=number,
        )

    async def silence(self, workers: Sequence[str]) -> None:
        """Let the leases of these workers run out now, without an outage."""
        await self.upkeep.recover()
        await self.redis.zadd(self.store.keys.prefix + "workers", dict.fromkeys(workers, 1), xx=True)

    async def read_slow_log(self) -> None:
        """Note the worst call of each script since the last look."""
        for entry in await self.redis.slowlog_get(_LOG_LENGTH):
            name = _NAMES.get(entry["command"].split()[1].decode()) if _is_script(entry["command"]) else None
            if name:
                self.logged_ms[name] = max(self.logged_ms.get(name, 0.0), entry["duration"] / 1000)
        await self.redis.slowlog_reset()


class Metered:
    """A Redis that notes what each script takes at worst: milliseconds of its processor, and commands."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self.worst: dict[str, tuple[float, float]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    async def evalsha(self, sha: str, *arguments: Any) -> Any:
        """Run a script."""
        commands, milliseconds = await self._commands(), await self._processor_ms()
        answer = await self._redis.evalsha(sha, *arguments)
        milliseconds = await self._processor_ms() - milliseconds
        commands, name = await self._commands() - commands - _OWN_COMMANDS, _NAMES[sha]
        before = self.worst.get(name, (0.0, 0.0))
        self.worst[name] = max(before[0], milliseconds), max(before[1], commands)
        return answer

    async def _processor_ms(self) -> float:
        used = await self._redis.info("cpu")
        return 1000 * sum(float(used[f"used_cpu_{kind}_main_thread"]) for kind in ("user", "sys"))

    async def _commands(self) -> float:
        statistics = await self._redis.info("commandstats")
        return float(sum(each["calls"] for each in statistics.values()))


_SCRIPTS = {name.lower(): each for name, each in vars(script).items() if isinstance(each, Script)}
_NAMES = {each.sha: name for name, each in _SCRIPTS.items()}


def _is_script(command: bytes) -> bool:
    return command.upper().startswith(b"EVALSHA ")


def a_request(**changes: Any) -> JobRequest:
    """A job of pictures of 20 × 20 pixels."""
    usual: dict[str, Any] = {"model": "benchmark", "version": 1, "digest": DIGEST, "seed": 7, "count": 1}
    return JobRequest(**usual | {"rows": 20, "columns": 20, "colours": 200} | changes)


def rows_of(claim: Claim, first: int, last: int, outcome: Any = None) -> Progress:
    """Some rows of a sample; black."""
    return Progress(
        job=claim.job,
        index=claim.index,
        token=claim.token,
        first_row=first,
        pixels=bytes((last - first) * claim.request.row_bytes),
        outcome=outcome,
    )


async def many_slots(pool: Pool, largest: Largest) -> None:
    """A worker with the most slots, which holds two samples for each: it draws, gives back, leaves, falls silent."""
    held = 2 * largest.slots
    job = await pool.of().submit(a_request(count=3 * held))
    claims = await pool.claim("first", held)
    await pool.workers.commit("first", [rows_of(claim, 0, 1) for claim in claims])
    await pool.workers.commit("first", [rows_of(claim, 1, 2, Released()) for claim in claims])
    claims = await pool.claim("second", held)
    await pool.workers.commit("second", [rows_of(claim, 2, 20, Finished(-1.0)) for claim in claims])
    await pool.claim("third", held)
    await pool.workers.leave("third")
    await pool.claim("fourth", held)
    await pool.silence(["fourth"])
    await pool.upkeep.recover()  # so that all of them are suspects
    await pool.of().cancel(job.id)
    await pool.of().delete(job.id)


async def many_jobs_at_once(pool: Pool, largest: Largest) -> None:
    """A claim and a commit in which every sample is the last one of another job."""
    number = min(512, largest.jobs)
    for _ in range(number):
        await pool.of().submit(a_request())
    claims = await pool.claim("first", number)
    await pool.workers.commit("first", [rows_of(claim, 0, 20, Finished(-1.0)) for claim in claims])


async def large_pictures(pool: Pool, largest: Largest) -> None:
    """Pictures of the most pixels, with the most colours, all of whose rows are kept or sent at once."""
    side = largest.side
    large = a_request(rows=side, columns=side, colours=1000, count=8, kept=bytes(4 * side * side))
    jobs = [await pool.of().submit(replace(large, seed=seed)) for seed in range(4)]
    claims = await pool.claim("first", 32)
    await pool.workers.commit("first", [rows_of(claim, 0, side - 1, Released()) for claim in claims])
    claims = await pool.claim("second", 32)
    await pool.workers.commit(
        "second", [rows_of(claim, side - 1, side, Finished(-1.0)) for claim in claims[:16]]
    )
    await pool.workers.leave("second")
    for job in jobs:
        await pool.of().cancel(job.id)
        await pool.of().get(job.id)
        await pool.of().delete(job.id)


async def long_jobs(pool: Pool, largest: Largest) -> None:
    """Jobs of the most samples, all of them drawn: they end, are forgotten, deleted, or found damaged."""
    expired, deleted, damaged = [await _drawn(pool, largest.samples) for _ in range(3)]
    keys, redis = pool.store.keys, pool.redis
    for job in (expired, deleted, damaged):
        await pool.of().cancel(job.id)
    await redis.zadd(keys.prefix + "expiry", {f"{expired.id} ": 1})
    await pool.upkeep.expire()
    await pool.of().delete(deleted.id)
    await redis.hset(keys.job(damaged.id), "count", "many")
    await pool.of().delete(damaged.id)
    await pool.upkeep.expire()


async def _drawn(pool: Pool, samples: int) -> Job:
    """A job all of whose samples but one have results; they are written at once, since drawing takes minutes."""
    job: Job = await pool.of().submit(a_request(count=samples))
    await pool.claim("first", 1)
    result = b"+1\n-1.0\ncpu\n" + bytes(40)
    for first in range(0, samples - 1, CHUNK):
        fields = {str(index): result for index in range(first, min(first + CHUNK, samples - 1))}
        await pool.redis.hset(pool.store.keys.result(job.id, first), mapping=fields)
    await pool.redis.hset(pool.store.keys.job(job.id), mapping={"next": samples, "done": samples - 1})
    await pool.workers.leave("first")
    return job


async def many_jobs(pool: Pool, largest: Largest) -> None:
    """Many jobs of many clients: they are counted again, listed, and reach their deadlines at once."""
    for number in range(largest.jobs):
        client = f"client-{number % largest.clients}"
        await pool.of(client).submit(a_request(seed=number, deadline_seconds=3600.0))
    await pool.upkeep.recount(every_seconds=0)
    await pool.upkeep.depth()
    await pool.of().list(limit=500)
    ids = [job_id.decode() for job_id in await pool.redis.zrange(pool.store.keys.jobs, 0, -1)]
    await pool.redis.zadd(pool.store.keys.prefix + "deadlines", dict.fromkeys(ids, 1), xx=True)
    await pool.upkeep.stop_overdue()


async def many_workers(pool: Pool, largest: Largest) -> None:
    """Many workers, which are asked for, audited, survive an outage, and fall silent together."""
    job = await pool.of().submit(a_request(count=largest.samples))
    names = [f"worker-{number}" for number in range(largest.workers)]
    for name in names:
        await pool.claim(name, 4)
    other = await pool.of().submit(a_request(digest="e" * 64))
    await pool.of().get(other.id)  # which asks all workers what they draw
    await pool.upkeep.depth()
    await QueueAudit(pool.store).run()
    await pool.redis.hset(pool.store.keys.meta, "recovered", "1")  # long ago
    await pool.upkeep.recover()
    await pool.silence(names)
    await pool.upkeep.recover()
    await pool.of().cancel(job.id)


Story: TypeAlias = Callable[[Pool, Largest], Awaitable[None]]
STORIES: tuple[Story, ...] = (
    many_slots,
    many_jobs_at_once,
    large_pictures,
    long_jobs,
    many_jobs,
    many_workers,
)


async def measure(largest: Largest) -> dict[str, dict[str, Worst]]:
    """The worst calls of each script, by story."""
    return {story.__name__: await measure_story(story, largest) for story in STORIES}


async def measure_story(story: Story, largest: Largest) -> dict[str, Worst]:
    """The worst calls of each script in a story."""
    async with empty_pool() as pool:
        await story(pool, largest)
        await pool.read_slow_log()
        worst: dict[str, tuple[float, float]] = pool.redis.worst
        return {name: Worst(pool.logged_ms.get(name, 0.0), *worst[name]) for name in worst}


@asynccontextmanager
async def empty_pool() -> AsyncIterator[Pool]:
    """A queue on a Redis of its own that logs how long scripts take."""
    with PrivateRedis(maxmemory="4gb") as server:
        async with connect(server.url) as redis:
            await redis.config_set("slowlog-max-len", _LOG_LENGTH)
            await redis.config_set("slowlog-log-slower-than", _LOGGED_MICROSECONDS)
            for each in _SCRIPTS.values():
                await redis.script_load(each.source)  # so that the first call is measured, too
            metered: Any = Metered(redis)
            yield Pool(metered, QueueStore(metered, lease_seconds=600))


def best_of(rounds: Sequence[dict[str, dict[str, Worst]]]) -> dict[str, dict[str, Worst]]:
    """The shortest worst call of all rounds, by story and script."""
    return {
        story: {name: Worst.best([each[story][name] for each in rounds]) for name in scripts}
        for story, scripts in rounds[0].items()
    }


def worst_story(found: dict[str, dict[str, Worst]], name: str) -> tuple[Worst, str]:
    """The most that a script takes, and the story in which it takes most of the processor."""
    stories = {story: scripts[name] for story, scripts in found.items() if name in scripts}
    story = max(stories, key=lambda each: stories[each].processor_ms)
    return Worst(*map(max, zip(*stories.values(), strict=True))), story


@click.command(cls=Benchmark)
@click.option("--slots", type=click.IntRange(1, 4096), default=Largest.slots, show_default=True)
@click.option("--side", type=click.IntRange(1, 1024), default=Largest.side, show_default=True)
@click.option("--samples", type=click.IntRange(2, 1_000_000), default=Largest.samples, show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=Largest.jobs, show_default=True)
@click.option("--clients", type=click.IntRange(1), default=Largest.clients, show_default=True)
@click.option("--workers", type=click.IntRange(1), default=Largest.workers, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(rounds: int, file: Path | None, **sizes: int) -> None:
    """Show how long the worst call of each script takes in Redis. The goal is 5 ms."""
    largest = Largest(**sizes)
    click.echo(f"{largest}\n{machine.headline()}")
    found = best_of([asyncio.run(measure(largest)) for _ in range(rounds)])
    click.echo(
        f"{'script':<13} {'slow log':>9} {'processor':>10} {'commands':>9}   (ms; the goal is {LIMIT_MS:.0f})"
    )
    for name in sorted({name for scripts in found.values() for name in scripts}):
        worst, story = worst_story(found, name)
        click.echo(
            f"{name:<13} {worst.logged_ms:9.2f} {worst.processor_ms:10.2f} {worst.commands:9.0f}"
            f"   in {story.replace('_', ' ')}"
        )
    machine.write(
        file,
        {
            "worst": {
                story: {name: worst._asdict() for name, worst in scripts.items()}
                for story, scripts in found.items()
            }
        },
    )


if __name__ == "__main__":
    main()
