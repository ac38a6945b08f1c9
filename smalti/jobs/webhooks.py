"""The queue for servers that tell clients of the ends of their jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from smalti.jobs import script
from smalti.jobs.job import Job
from smalti.jobs.limits import EVERYBODY
from smalti.jobs.reading import JobRecords
from smalti.jobs.store import QueueStore


@dataclass(frozen=True, slots=True)
class Due:
    """A webhook to be sent now."""

    job: Job
    tries: int  # this one included


class WebhookQueue:
    """Hands webhooks to whoever sends them; any number of processes may ask. Each is handed out until it is settled."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store
        self._records = JobRecords(store)

    async def take(self, most: int, *, again_seconds: float) -> Sequence[Due]:
        """Webhooks that are due. Settle each; if nobody does, somebody gets it again after `again_seconds`."""
        taken = await self._store.run(script.TAKE_WEBHOOKS, most, ceil(again_seconds * 1000))
        tries = {job_id.decode(): number for job_id, number in taken}
        jobs = await self._records.read(EVERYBODY, list(tries))
        return [Due(job, tries[job.id]) for job in jobs if isinstance(job, Job)]

    async def settle(self, due: Due, *, next_seconds: float | None) -> None:
        """Say that it was sent, or given up, or when to try again."""
        delay = "" if next_seconds is None else ceil(next_seconds * 1000)
        await self._store.run(script.SETTLE_WEBHOOK, due.job.id, due.tries, delay, 1)

    async def put_off(self, due: Due, *, next_seconds: float) -> None:
        """Say that it was not even tried, and when to do so."""
        delay = ceil(next_seconds * 1000)
        await self._store.run(script.SETTLE_WEBHOOK, due.job.id, due.tries, delay, 0)
