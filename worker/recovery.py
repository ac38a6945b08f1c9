"""Looks after the queue beside the drawing: recovers samples, forgets old jobs, reads the gauges."""

import asyncio
from contextlib import suppress
from time import monotonic

import structlog

from smalti.errors import Unavailable
from smalti.jobs.queue import JobQueue
from smalti.metrics import QUEUE_AGE_SECONDS, QUEUE_SAMPLES, QUEUE_WORKERS, QUEUED_JOBS, RECOVERED_SAMPLES
from worker.waiting import wait_until

log = structlog.get_logger()

_EXPIRE_SECONDS = 5.0
_GAUGE_SECONDS = 1.0


class Recovery:
    """Every worker runs one; they do not disturb each other."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._expired = self._measured = float("-inf")

    async def run(self, stopping: asyncio.Event) -> None:
        """Look after the queue until told to stop; while Redis is away there is nothing to look after."""
        while not stopping.is_set():
            with suppress(Unavailable):  # the worker itself says that Redis is away
                await self._look_after(monotonic())
            await wait_until(stopping, seconds=self._queue.recover_seconds)

    async def _look_after(self, now: float) -> None:
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
