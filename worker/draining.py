"""Stops the worker when somebody who runs the queue asked for it."""

import asyncio
from contextlib import suppress

import structlog

from smalti.errors import Unavailable
from worker.parts import Parts
from worker.waiting import wait_until

log = structlog.get_logger()
_LOOK_SECONDS = 1.0


class Draining:
    """Looks whether the worker is to stop. A restarted worker has another name, so it is not asked to stop again."""

    def __init__(self, parts: Parts) -> None:
        self._queue = parts.queue
        self._worker = parts.worker
        self._signals = parts.signals

    async def run(self, stopping: asyncio.Event) -> None:
        """Set `stopping`, as SIGTERM does, once the queue says that this worker is drained."""
        while not await wait_until(self._signals.stopping, seconds=_LOOK_SECONDS):
            with suppress(Unavailable):  # others wait for Redis, and log it
                if await self._queue.is_draining(self._worker):
                    log.info("worker is drained", worker=self._worker)
                    stopping.set()
