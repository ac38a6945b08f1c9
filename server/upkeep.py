"""Looks after the queue beside the requests: is Redis there and fit, which samples to recover, how much waits."""

import asyncio

import structlog

from server.readiness import Readiness
from smalti.errors import RedisUnfit, Unavailable
from smalti.jobs.housekeeping import Housekeeping
from smalti.jobs.queue import JobQueue

log = structlog.get_logger()


class Upkeep:
    """Every server runs one, as every worker does; they do not disturb each other."""

    def __init__(self, queue: JobQueue, readiness: Readiness, *, allow_volatile: bool) -> None:
        self._queue = queue
        self._readiness = readiness
        self._allow_volatile = allow_volatile
        self._fit: bool | None = None  # None: not known yet
        self._was_fit = False
        self._housekeeping = Housekeeping(queue)

    async def run(self) -> None:
        """Go on until cancelled; raises RedisUnfit if the first Redis that answers is.

        One that comes back unfit is treated as away: whoever changed it can mend it while one-shot requests go on.
        """
        while True:
            try:
                await self._look()
            except Unavailable as error:
                await self._away(str(error), "Redis does not answer, so there are no jobs for now.")
            except RedisUnfit as error:
                if not self._was_fit:
                    raise
                await self._away(str(error), f"There are no jobs for now: {error}")
            await asyncio.sleep(self._queue.recover_seconds)

    async def _look(self) -> None:
        if not self._fit:
            await self._meet()
        await self._housekeeping.look()

    async def _meet(self) -> None:
        """Check a Redis that is new or was away: it may be another one."""
        await self._queue.check(allow_volatile=self._allow_volatile)
        self._fit = self._was_fit = True
        await self._readiness.set_redis()
        log.info("redis answers")

    async def _away(self, reason: str, for_clients: str) -> None:
        if self._fit is not False:
            log.warning("no jobs, one-shot requests go on", reason=reason)
        self._fit = False
        await self._readiness.set_no_redis(for_clients)
