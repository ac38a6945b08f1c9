"""A worker's place in one part of the queue: it claims, commits and keeps its lease there, whatever other parts do."""

import asyncio
from collections.abc import Callable

from worker.claiming import Claiming
from worker.committing import Committing
from worker.draining import Draining
from worker.drawing import Drawing
from worker.lease import Lease
from worker.parts import Parts


class Membership:
    """The roles that talk to one part of the queue. Most queues have one part."""

    def __init__(
        self,
        parts: Parts,
        drawing: Drawing,
        *,
        among: int,
        slots: int,
        fingerprint: str,
        lease_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.parts = parts
        self._committing = Committing(parts)
        self._lease = Lease(parts, seconds=lease_seconds)
        self._claiming = Claiming(
            parts,
            drawing=drawing,
            lease=self._lease,
            among=among,
            slots=slots,
            fingerprint=fingerprint,
            clock=clock,
        )

    def start(self, tasks: asyncio.TaskGroup, stopping: asyncio.Event) -> None:
        """Run the roles side by side."""
        tasks.create_task(self._claiming.run())
        tasks.create_task(self._claiming.listen())
        tasks.create_task(self._committing.run())
        tasks.create_task(self._lease.run())
        tasks.create_task(Draining(self.parts).run(stopping))

    async def hand_back(self) -> None:
        """Give back what is unfinished, and leave this part."""
        await self._committing.hand_back()
