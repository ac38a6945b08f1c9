"""Keeps a queue in order: checks its Redis, recovers samples, forgets old jobs, and counts what is there."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from smalti.errors import RedisUnfit, Unavailable
from smalti.jobs import script
from smalti.jobs.auditing import QueueAudit
from smalti.jobs.connection import NOT_OURS, Refused, refuse_if_unfit, unavailable_when_away
from smalti.jobs.job import QueueDepth
from smalti.jobs.keys import LAYOUT
from smalti.jobs.store import QueueStore

# While a script runs, Redis answers nobody. So one call does so much at most.
_RECOVERED_AT_ONCE = 32  # samples
_RECOUNTED_AT_ONCE = 32  # jobs, or clients
RECOUNT_SECONDS = 60.0
AUDIT_SECONDS = 60.0
_STOPPED_AT_ONCE = 8  # jobs past their deadlines
_EXPIRED_AT_ONCE = 16  # jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Recounted:
    """What a recount found."""

    wrong_totals: int  # that are right now
    damaged_jobs: Sequence[str]  # ids of jobs whose records cannot be read


class QueueUpkeep:
    """Every worker and every server calls these now and then (`smalti.jobs.housekeeping`)."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store.for_upkeep()

    @property
    def recover_seconds(self) -> float:
        """How often somebody must call `recover`: four times a lease, at least once a second.

        If nobody does for half a lease, that counts as an outage. After an outage, a worker first gets a fresh lease if
        Redis has heard from it since the outage before.
        """
        return min(1.0, self._store.lease_ms / 4000)

    async def check(self) -> None:
        """Raise RedisUnfit if this Redis is too old, refuses us, could lose jobs, has a queue of another layout, or has
        keys of somebody else under the queue's names.

        From then on every call on this store raises Unavailable with that reason, until `check` finds it repaired. Call
        it now and then: the configuration of a running Redis may be changed.
        """
        store = self._store
        try:
            with unavailable_when_away():
                refuse_if_unfit(await store.redis.info(), allow_volatile=store.allow_volatile)
                await self._refuse_others_keys()
                await self._refuse_another_layout()
        except (Refused, RedisUnfit) as error:
            store.unfit = str(error)
            raise RedisUnfit(store.unfit) from error
        except Unavailable as error:
            store.away = str(error)
            raise
        store.unfit = store.away = ""

    async def recover(self) -> int:
        """Take samples back from workers whose lease has run out; returns how many. Call it every `recover_seconds`."""
        recovered, more = 0, True
        while more:
            taken, more = await self._store.run(script.RECOVER, self._store.lease_ms, _RECOVERED_AT_ONCE)
            recovered += taken
        return recovered

    async def stop_overdue(self) -> int:
        """Stop jobs whose deadlines have passed; returns how many. Call it about once a second."""
        overdue, more = 0, True
        while more:
            stopped, more = await self._store.run(script.DEADLINE, _STOPPED_AT_ONCE)
            overdue += stopped
        return overdue

    async def expire(self) -> int:
        """Forget jobs whose retention has passed, and do what other calls left to do; returns how many jobs.

        Call it every few seconds. What a call of cancel, delete or commit leaves is memory to free, nothing else.
        """
        expired, more = 0, True
        while more:
            forgotten, more = await self._store.run(script.EXPIRE, _EXPIRED_AT_ONCE)
            expired += forgotten
        return expired

    async def recount(self, *, every_seconds: float = RECOUNT_SECONDS) -> Recounted:
        """Compute the totals again, if the last recount is `every_seconds` ago."""
        wrong, damaged, more = 0, list[str](), True
        while more:
            more, found, *jobs = await self._store.run(
                script.RECOUNT, _RECOUNTED_AT_ONCE, ceil(every_seconds * 1000)
            )
            wrong += found
            damaged += [job_id.decode() for job_id in jobs]
        return Recounted(wrong_totals=wrong, damaged_jobs=damaged)

    async def audit(self, *, every_seconds: float = AUDIT_SECONDS) -> "Counter[str]":
        """Look for what no script would have left, and repair it, if the last audit is `every_seconds` ago.

        Returns how many repairs of each kind were made (smalti/jobs/auditing.py). It takes many short calls, so that
        others are not held up.
        """
        turn = await self._store.run(script.TAKE_TURN, "audited", ceil(every_seconds * 1000))
        repairs = await QueueAudit(self._store).run() if turn else Counter[str]()
        if repairs:
            await self.recount(every_seconds=0)  # it may have begun before the repairs
            await self.recount(every_seconds=0)
        return repairs

    async def depth(self) -> QueueDepth:
        """How much is in the queue now; the cost does not grow with the queue."""
        live, queued, paused, ready, workers, oldest = await self._store.run(script.DEPTH)
        (running,) = await self._store.run(script.RUNNING)
        return QueueDepth(
            queued_jobs=queued,
            running_jobs=live - queued - paused,
            paused_jobs=paused,
            ready_samples=ready,
            running_samples=running,
            workers=workers,
            oldest_seconds=oldest / 1000,
        )

    async def _refuse_others_keys(self) -> None:
        """Raise RedisUnfit if somebody else wrote a key of the pool; keys of single jobs are too many to check."""
        kinds = self._store.keys.kinds
        async with self._store.redis.pipeline(transaction=False) as pipe:
            for name in kinds:
                pipe.type(name)
            found = await pipe.execute()
        for (name, kind), reply in zip(kinds.items(), found, strict=True):
            if reply not in (b"none", kind):
                raise RedisUnfit(f"The key '{name}' in this Redis {NOT_OURS}")

    async def _refuse_another_layout(self) -> None:
        """Raise RedisUnfit if the queue has another layout. Read before writing: a full Redis can still be read."""
        meta = self._store.keys.meta
        layout = await self._store.redis.hget(meta, "schema")
        if layout is None:
            layout = await script.LAYOUT(self._store.redis, [meta], [LAYOUT])
        if layout != LAYOUT.encode():
            raise RedisUnfit(
                f"The queue in this Redis has layout {layout.decode(errors='replace')}, this smalti needs {LAYOUT}: "
                "let the old workers finish it, or set SMALTI_POOL to another name."
            )
