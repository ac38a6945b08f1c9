"""Looks after the queue in the background: checks Redis, recovers samples, measures how much waits."""

import asyncio

import structlog

from server.readiness import Readiness
from smalti.errors import RedisUnfit, Unavailable
from smalti.jobs.connection import Refused
from smalti.jobs.housekeeping import Depths, Housekeeping
from smalti.jobs.upkeep import QueueUpkeep

log = structlog.get_logger()


class Upkeep:
    """Every server and every worker runs one for each part of the queue; they do not disturb each other."""

    def __init__(
        self, queue: QueueUpkeep, readiness: Readiness, *, part: int = 0, depths: Depths | None = None
    ) -> None:
        self._queue = queue
        self._part = part
        self._readiness = readiness
        self._fit = self._was_fit = False
        self._said = ""  # why jobs are unavailable, as clients are told
        self._housekeeping = Housekeeping(queue, depths)

    async def keep_recovering(self) -> None:
        """Recover samples until cancelled. Run it together with `run`, which reports failures."""
        await self._housekeeping.keep_recovering()

    async def keep_auditing(self) -> None:
        """Audit the queue now and then until cancelled. Run it together with `run`, which reports failures."""
        await self._housekeeping.keep_auditing()

    async def run(self) -> None:
        """Check Redis until cancelled; raises RedisUnfit if it is unfit from the start.

        A Redis that turns unfit later counts as away: it can be repaired while one-shot requests go on.
        """
        while True:
            try:
                await self._housekeeping.look()
                await self._redis_answers()
            except (Refused, RedisUnfit) as error:
                if isinstance(error, RedisUnfit) and not self._was_fit:
                    raise
                await self._redis_is_away(str(error), f"There are no jobs for now: {error}")
            except Unavailable as error:
                await self._redis_is_away(str(error), "Redis does not answer, so there are no jobs for now.")
            await asyncio.sleep(self._queue.recover_seconds)

    async def _redis_answers(self) -> None:
        if not self._fit:
            self._fit = self._was_fit = True
            self._said = ""
            await self._readiness.set_redis(self._part)
            log.info("redis answers", part=self._part)

    async def _redis_is_away(self, reason: str, for_clients: str) -> None:
        if self._said != for_clients:
            log.warning("no jobs, one-shot requests go on", reason=reason, part=self._part)
        self._fit, self._said = False, for_clients
        await self._readiness.set_no_redis(for_clients, self._part)
