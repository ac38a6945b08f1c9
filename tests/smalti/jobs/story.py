"""What the queue's tests share: a small job, workers that draw it, a Redis that gets every script twice."""

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from smalti.jobs.job import Claim, Finished, JobRequest, Progress
from smalti.jobs.kept import packed
from smalti.jobs.keys import Keys
from smalti.jobs.limits import UNSAID, ClientLimits
from smalti.jobs.workers import CLAIMED_AT_ONCE
from tests.queues import Queues

ROWS, COLUMNS = 4, 3


@dataclass(frozen=True)
class Asking:
    """A client by its name."""

    name: str
    sees_all: bool = False
    limits: ClientLimits = UNSAID


ANNE, BEN, ADMIN = Asking("anne"), Asking("ben"), Asking("root", sees_all=True)


def request_for(**changes: Any) -> JobRequest:
    fields: dict[str, Any] = {
        "model": "toy",
        "version": 1,
        "digest": "digest-a",
        "rows": ROWS,
        "columns": COLUMNS,
        "colours": 200,
        "count": 1,
        "seed": 7,
    }
    return JobRequest(**fields | changes)


def rows_of(index: int, first: int, last: int) -> bytes:
    """What every worker draws for these rows of a sample."""
    return bytes(
        (index * 31 + row * 7 + column) % 200 for row in range(first, last) for column in range(COLUMNS)
    )


def kept_by(index: int) -> bytes:
    """The kept pixels of a sample, in a job in which each sample has its own: some rows, and a pixel below them."""
    kept = index % ROWS * COLUMNS
    pixels = [
        (index * 5 + place) % 200 if place < kept or place == 10 else -1 for place in range(ROWS * COLUMNS)
    ]
    return struct.pack(f"<{len(pixels)}i", *pixels)


def own_kept(count: int) -> list[bytes]:
    """These for every sample, as a submit takes them."""
    return [packed(kept_by(index), 200) for index in range(count)]


def drawn(claim: Claim, first: int, last: int, outcome: Any = None) -> Progress:
    return Progress(
        job=claim.job,
        index=claim.index,
        token=claim.token,
        first_row=first,
        pixels=rows_of(claim.index, first, last),
        outcome=outcome,
    )


def finished(claim: Claim) -> Progress:
    return drawn(claim, len(claim.pixels) // COLUMNS, ROWS, Finished(-1.5))


async def claim_from(queue: Queues, worker: str = "anna", *, limit: int = 1, **changes: Any) -> list[Claim]:
    """A claim of the worker's next sequence number, and of the ones after it if one call cannot hand out so many."""
    fields: dict[str, Any] = {"digests": ["digest-a"], "fingerprint": "cpu", "limit": limit, **changes}
    queue.claims[worker] += 1
    claims = await queue.workers.claim(worker, **{"sequence": queue.claims[worker], **fields})
    if len(claims) < CLAIMED_AT_ONCE or len(claims) == limit:
        return claims
    return claims + await claim_from(queue, worker, limit=limit - len(claims), **changes)


async def silence(redis: Redis, worker: str) -> None:
    """Let a worker's lease run out now."""
    await redis.zadd(Keys("default").prefix + "workers", {worker: 1}, xx=True)


async def pass_deadline(queue: Queues, redis: Redis, job_id: str) -> int:
    """Let a job's deadline pass now, if it has one; returns how many jobs were stopped."""
    await redis.zadd(Keys("default").prefix + "deadlines", {job_id: 1}, xx=True)
    return await queue.upkeep.stop_overdue()


async def take_lease_away(queue: Queues, redis: Redis, worker: str) -> int:
    await queue.upkeep.recover()  # so that the silence that follows does not count as an outage
    await silence(redis, worker)
    return await queue.upkeep.recover()


class Twice:
    """A Redis that loses its first reply to every script, so that the script is sent again."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    async def evalsha(self, *arguments: Any) -> Any:
        await self._redis.evalsha(*arguments)
        return await self._redis.evalsha(*arguments)

    async def eval(self, *arguments: Any) -> Any:
        await self._redis.eval(*arguments)
        return await self._redis.eval(*arguments)


class Counting:
    """A Redis that counts round trips: a pipeline is one."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.round_trips = 0

    def __getattr__(self, name: str) -> Any:
        if name == "pipeline":
            return self._pipeline
        return self._counted(getattr(self._redis, name))

    def _pipeline(self, **options: Any) -> Any:
        pipe = self._redis.pipeline(**options)
        pipe.execute = self._counted(pipe.execute)  # type: ignore[method-assign]
        return pipe

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **options: Any) -> Any:
            self.round_trips += 1
            return call(*arguments, **options)

        return count

    async def taken_by(self, call: Awaitable[Any]) -> int:
        """The round trips of one call."""
        before = self.round_trips
        await call
        return self.round_trips - before


class Failing:
    """A Redis that goes away after some scripts, if it is told so; what it did then stays done."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._left: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._redis, name)

    def after_scripts(self, number: int) -> None:
        """Answer so many scripts more, and then none."""
        self._left = number

    async def evalsha(self, *arguments: Any) -> Any:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise RedisConnectionError("Connection refused")
        return await self._redis.evalsha(*arguments)
