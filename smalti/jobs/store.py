"""Where the queue of one pool is kept: its Redis, its keys, its scripts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from math import ceil
from typing import Any

from redis.asyncio import Redis

from smalti.errors import Unavailable
from smalti.jobs.connection import Refused, unavailable_when_away
from smalti.jobs.keys import Keys
from smalti.jobs.script import Script

BLOCK_SECONDS = 1.0  # longest wait for a stream; less than the connection's timeout


@dataclass(slots=True)
class _Finding:
    """What the last check of a Redis found; all stores of one queue share it."""

    unfit: str = ""
    away: str = ""  # why the last call got no answer; empty if it got one


class QueueStore:
    """What ClientQueue, WorkerQueue, WatcherQueue and QueueUpkeep of one pool share; pools do not see each other.

    Everything that is read or written through it raises Unavailable while Redis is away, and while the last
    `QueueUpkeep.check` found it unfit. `redis` comes from `smalti.jobs.connection.connect`.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        pool: str = "default",
        lease_seconds: float = 10.0,
        allow_volatile: bool = False,
        has_siblings: bool = False,
    ) -> None:
        self.redis: Any = redis  # redis-py's types cannot say that this client answers in bytes
        self.keys = Keys(pool)
        self.lease_ms = ceil(lease_seconds * 1000)
        self.allow_volatile = allow_volatile
        self._finding = _Finding()
        self._waits_for_upkeep = has_siblings

    def over(self, redis: Redis) -> "QueueStore":
        """The same queue over other connections; `QueueUpkeep.check` on either of them counts for both."""
        other = copy(self)
        other.redis = redis
        return other

    def for_upkeep(self) -> "QueueStore":
        """The same queue, for those who look whether Redis is back."""
        if not self._waits_for_upkeep:
            return self
        other = copy(self)
        other._waits_for_upkeep = False
        return other

    @property
    def away(self) -> str:
        """Why the last call got no answer; empty if it got one."""
        return self._finding.away

    @away.setter
    def away(self, reason: str) -> None:
        self._finding.away = reason

    @property
    def unfit(self) -> str:
        """Why the last `QueueUpkeep.check` found this Redis unfit; empty if it is fit."""
        return self._finding.unfit

    @unfit.setter
    def unfit(self, reason: str) -> None:
        self._finding.unfit = reason

    @contextmanager
    def available(self, key: str = "") -> Iterator[None]:
        """Raise Unavailable if Redis is away or unfit; `key` is named in the message if it is not smalti's.

        Where a pool has several parts, calls to one that is away fail at once, until its upkeep gets an answer: nobody
        who serves all parts waits for it.
        """
        finding = self._finding
        if finding.unfit:
            raise Refused(finding.unfit)
        if finding.away and self._waits_for_upkeep:
            raise Unavailable(finding.away)
        try:
            with unavailable_when_away(key):
                yield
        except Unavailable as error:
            if type(error) is Unavailable:  # not one that refuses, or is full
                finding.away = str(error)
            raise
        finding.away = ""

    async def run(
        self, script: Script, *arguments: str | bytes | int, keys: Sequence[str] = ()
    ) -> Any:  # each script has its own reply
        """Run a script of the queue; the first key is always `meta`."""
        with self.available():
            return await script(self.redis, [self.keys.meta, *keys], arguments)

    async def read_stream(
        self, stream: str, after: bytes | str, seconds: float
    ) -> Sequence[tuple[bytes, Mapping[bytes, bytes]]]:
        """The entries after one; waits for the first at most `seconds`, and at most BLOCK_SECONDS."""
        block = max(1, ceil(min(seconds, BLOCK_SECONDS) * 1000))
        with self.available(stream):
            found = await self.redis.xread({stream: after}, count=1000, block=block)
        entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]] = found[0][1] if found else []
        return entries
