"""Looks after the queue while the worker draws, so that any worker notices the death of another."""

import asyncio
from contextlib import suppress

from smalti.errors import RedisUnfit, Unavailable
from smalti.jobs.housekeeping import Depths, Housekeeping
from smalti.jobs.upkeep import QueueUpkeep
from worker.waiting import wait_until


class Recovery:
    """The upkeep of the queue. Every worker runs one for each part of it, and they do not disturb each other."""

    def __init__(self, queue: QueueUpkeep, depths: Depths | None = None) -> None:
        self._queue = queue
        self._housekeeping = Housekeeping(queue, depths)

    async def run(self, stopping: asyncio.Event) -> None:
        """Look after the queue until told to stop; do nothing while Redis is away or unfit.

        If Redis becomes unfit, it is noticed here; from then on the queue refuses the worker's calls.
        """
        async with asyncio.TaskGroup() as tasks:
            recovering = tasks.create_task(self._housekeeping.keep_recovering())
            while not stopping.is_set():
                with suppress(Unavailable, RedisUnfit):
                    await self._housekeeping.look()
                await wait_until(stopping, seconds=self._queue.recover_seconds)
            recovering.cancel()
