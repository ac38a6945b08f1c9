"""Looks after the queue beside the drawing, so that a worker's death is noticed by any other."""

import asyncio
from contextlib import suppress

from smalti.errors import RedisUnfit, Unavailable
from smalti.jobs.housekeeping import Housekeeping
from smalti.jobs.upkeep import QueueUpkeep
from worker.waiting import wait_until


class Recovery:
    """Every worker runs one; they do not disturb each other."""

    def __init__(self, queue: QueueUpkeep) -> None:
        self._queue = queue
        self._housekeeping = Housekeeping(queue)

    async def run(self, stopping: asyncio.Event) -> None:
        """Look after the queue until told to stop; while Redis is away or unfit there is nothing to look after.

        That one became unfit is found here; what the worker itself asks of it is refused from then on, and it says so.
        """
        async with asyncio.TaskGroup() as tasks:
            recovering = tasks.create_task(self._housekeeping.keep_recovering())
            while not stopping.is_set():
                with suppress(Unavailable, RedisUnfit):
                    await self._housekeeping.look()
                await wait_until(stopping, seconds=self._queue.recover_seconds)
            recovering.cancel()
