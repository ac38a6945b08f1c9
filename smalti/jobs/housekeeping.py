"""Looks after a queue, one look at a time: checks its Redis, recovers samples, forgets old jobs, reads the gauges."""

from time import monotonic

import structlog

from smalti.errors import RedisUnfit, Unavailable
from smalti.jobs.queue import JobQueue
from smalti.metrics import QUEUE_AGE_SECONDS, QUEUE_SAMPLES, QUEUE_WORKERS, QUEUED_JOBS, RECOVERED_SAMPLES

log = structlog.get_logger()
_CHECK_SECONDS = 2.0  # somebody may change a running Redis
_EXPIRE_SECONDS = 5.0
_GAUGE_SECONDS = 1.0


class Housekeeping:
    """Every server and every worker does it; they do not disturb each other."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._checked = self._expired = self._measured = float("-inf")

    async def look(self) -> None:
        """Recover, and now and then the rest; to be called every `queue.recover_seconds`.

        Raises Unavailable, and RedisUnfit; after either the next look begins with a check, for it may be another Redis.
        """
        try:
            await self._look()
        except (Unavailable, RedisUnfit):
            self._checked = float("-inf")
            raise

    async def _look(self) -> None:
        now = monotonic()
        if now - self._checked >= _CHECK_SECONDS:
            await self._queue.check()
            self._checked = now
        await self._recover()
        if now - self._measured >= _GAUGE_SECONDS:
            self._measured = now
            await self._measure()
        if now - self._expired >= _EXPIRE_SECONDS:
            self._expired = now
            await self._queue.expire()

    async def _recover(self) -> None:
        recovered = await self._queue.recover()
        if recovered:
            RECOVERED_SAMPLES.inc(recovered)
            log.warning("samples recovered from a silent worker", count=recovered)

    async def _measure(self) -> None:
        depth = await self._queue.depth()
        QUEUED_JOBS.labels("QUEUED").set(depth.queued_jobs)
        QUEUED_JOBS.labels("RUNNING").set(depth.running_jobs)
        QUEUE_SAMPLES.labels("ready").set(depth.ready_samples)
        QUEUE_SAMPLES.labels("running").set(depth.running_samples)
        QUEUE_AGE_SECONDS.set(depth.oldest_seconds)
        QUEUE_WORKERS.set(depth.workers)
