"""Looks after the queue beside the requests: is Redis there and fit, which samples to recover, how much waits."""

import asyncio

import structlog

from server.readiness import Readiness
from smalti.errors import RedisUnfit, Unavailable
from smalti.jobs.connection import Refused
from smalti.jobs.housekeeping import Housekeeping
from smalti.jobs.upkeep import QueueUpkeep

log = structlog.get_logger()


class Upkeep:
    """Every server runs one, as every worker does; they do not disturb each other."""

    def __init__(self, queue: QueueUpkeep, readiness: Readiness) -> None:
        self._queue = queue
        self._readiness = readiness
        self._fit = self._was_fit = False
        self._said = ""  # to clients, of why there are no jobs
        self._housekeeping = Housekeeping(queue)

    async def keep_recovering(self) -> None:
        """Recover samples until cancelled, beside `run`, which says where that fails."""
        await self._housekeeping.keep_recovering()

    async def run(self) -> None:
        """Go on until cancelled; raises RedisUnfit if the first Redis that answers is.

        One that turns unfit later is treated as away: whoever changed it can mend it while one-shot requests go on.
        """
        while True:
            try:
                await self._housekeeping.look()
                await self._there()
            except (Refused, RedisUnfit) as error:
                if isinstance(error, RedisUnfit) and not self._was_fit:
                    raise
                await self._away(str(error), f"There are no jobs for now: {error}")
            except Unavailable as error:
                await self._away(str(error), "Redis does not answer, so there are no jobs for now.")
            await asyncio.sleep(self._queue.recover_seconds)

    async def _there(self) -> None:
        if not self._fit:
            self._fit = self._was_fit = True
            self._said = ""
            await self._readiness.set_redis()
            log.info("redis answers")

    async def _away(self, reason: str, for_clients: str) -> None:
        if self._said != for_clients:
            log.warning("no jobs, one-shot requests go on", reason=reason)
        self._fit, self._said = False, for_clients
        await self._readiness.set_no_redis(for_clients)
