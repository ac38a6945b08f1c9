"""Spreads the jobs of a pool over several parts, each in a slot of its own: opens them, and says which job is where.

Everything about one job is in one part, so scripts know nothing of others. Clients and watchers go to the part of a
job; workers draw from all parts at once, and each part has its own upkeep.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from zlib import crc32

from redis.asyncio import Redis

from smalti.errors import Unavailable
from smalti.jobs.connection import connect
from smalti.jobs.keys import Keys
from smalti.jobs.limits import ClientLimits, QueueLimits
from smalti.jobs.store import QueueStore
from smalti.runtime.settings import SharedSettings

_SLOTS = 16384  # of a Redis cluster
_OTHERS_SECONDS = 0.5  # how long a submit waits to learn what is used elsewhere


def names_of_shards(pool: str, number: int) -> Sequence[str]:
    """The names of a pool's parts. Their slots divide a cluster evenly, as its nodes usually do.

    Another number of parts gives other names, so that no job is looked for in the wrong part.
    """
    return [pool] if number == 1 else [_name(pool, number, place) for place in range(number)]


def _name(pool: str, number: int, place: int) -> str:
    names = (f"{pool}/{number}.{place}.{attempt}" for attempt in count())
    return next(name for name in names if Keys(name).slot * number // _SLOTS == place)


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of each limit is used."""

    jobs: int = 0
    pixels: int = 0
    result_bytes: int = 0

    def of(self, what: str) -> int:
        """What is used of this limit, as scripts call it."""
        return {"jobs": self.jobs, "pixels": self.pixels, "bytes": self.result_bytes}[what]

    def left_of(self, limits: QueueLimits | ClientLimits) -> Sequence[int | None]:
        """What these limits leave; None for no limit."""
        used = (self.jobs, self.pixels, self.result_bytes)
        most = (limits.jobs, limits.pixels, limits.result_bytes)
        return [
            None if limit is None else max(0, limit - number)
            for limit, number in zip(most, used, strict=True)
        ]

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.jobs + other.jobs, self.pixels + other.pixels, self.result_bytes + other.result_bytes
        )


class Shards:
    """All parts of a pool; most pools have one. They share nothing but the rule that says where a job is."""

    def __init__(self, stores: Sequence[QueueStore]) -> None:
        self.all = tuple(stores)

    def of(self, job_id: str) -> QueueStore:
        """The part that has the job."""
        return self.all[_place(job_id, len(self.all))]

    def for_new_job(self, request_key: str) -> QueueStore:
        """The part for a new job: that of its request_id, so that the same one comes to the same part; else any."""
        if request_key:
            return self.of(request_key)
        return random.choice([store for store in self.all if not store.away] or self.all)

    def new_id(self, store: QueueStore, draw: Callable[[], str]) -> str:
        """A new job's id, for a job in this part."""
        return next(job_id for job_id in iter(draw, None) if self.of(job_id) is store)

    async def used_elsewhere(self, store: QueueStore, client: str) -> Mapping[str, Usage]:
        """What all clients ('pool') and this 'client' use in other parts; one that does not answer counts as empty."""
        others = [other for other in self.all if other is not store and not other.away]
        used = await asyncio.gather(*(_used(other, client) for other in others))
        return {
            "pool": sum((pool for pool, _ in used), Usage()),
            "client": sum((own for _, own in used), Usage()),
        }


def as_shards(store: QueueStore | Shards) -> Shards:
    """The parts of a pool that may have one only."""
    return store if isinstance(store, Shards) else Shards([store])


def _place(text: str, number: int) -> int:
    return crc32(text.encode()) % number


async def _used(store: QueueStore, client: str) -> tuple[Usage, Usage]:
    words = ("jobs", "pixels", "bytes")
    fields = [*words, *(f"{word} {client}" for word in words)]
    found: Sequence[bytes | None] = [None] * 6
    with suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(_OTHERS_SECONDS):
            with store.available():
                found = await store.redis.hmget(store.keys.totals, fields)
    numbers = [int(number or 0) for number in found]
    return Usage(*numbers[:3]), Usage(*numbers[3:])


@asynccontextmanager
async def open_shards(settings: SharedSettings, *connections: int) -> AsyncIterator[list[Shards]]:
    """The queue that these settings name, once for each number of connections to a Redis, until the block ends."""
    async with AsyncExitStack() as stack:
        stores = [
            QueueStore(
                await _open(stack, settings, name, connections[0]),
                pool=name,
                lease_seconds=settings.lease_seconds,
                allow_volatile=settings.allow_volatile_redis,
                has_siblings=settings.shards > 1,
            )
            for name in names_of_shards(settings.pool, settings.shards)
        ]
        opened = [Shards(stores)]
        for number in connections[1:]:
            others = [store.over(await _open(stack, settings, store.keys.pool, number)) for store in stores]
            opened.append(Shards(others))
        yield opened


async def _open(stack: AsyncExitStack, settings: SharedSettings, name: str, connections: int) -> Redis:
    return await stack.enter_async_context(
        connect(
            settings.redis_url,
            slot=Keys(name).slot,
            allow_volatile=settings.allow_volatile_redis,
            connections=connections,
            waits_once=settings.shards > 1,
        )
    )
