"""Does the upkeep of a queue on time: recovers samples, stops overdue jobs, forgets old ones, sets the gauges."""

import asyncio
from collections.abc import Mapping
from time import monotonic

import structlog

from smalti.errors import RedisUnfit, Unavailable
from smalti.jobs.job import QueueDepth
from smalti.jobs.upkeep import QueueUpkeep
from smalti.runtime.metrics import (
    CORRECTED_TOTALS,
    OVERDUE_JOBS,
    QUEUE_AGE_SECONDS,
    QUEUE_SAMPLES,
    QUEUE_WORKERS,
    QUEUED_JOBS,
    RECOVERED_SAMPLES,
    REPAIRS,
)

log = structlog.get_logger()
_CHECK_SECONDS = 2.0  # somebody may change a running Redis
_EXPIRE_SECONDS = 5.0
_GAUGE_SECONDS = 1.0
_AUDIT_LOOK_SECONDS = 5.0  # between two looks whether it is time for an audit
_NAMED = 10  # damaged jobs in a line of the log


class Housekeeping:
    """Every server and every worker runs one for each part of the queue; they do not disturb each other."""

    def __init__(self, queue: QueueUpkeep, depths: "Depths | None" = None) -> None:
        self._queue = queue
        self._depths = depths or Depths()
        self._is_well = False  # whether everything succeeded when it was last tried
        self._checked = self._expired = self._measured = float("-inf")

    async def keep_recovering(self) -> None:
        """Recover every `recover_seconds` until cancelled, even while `look` takes long.

        If that fails, wait until `look` succeeds: it raises the reason.
        """
        while True:
            next_beat = monotonic() + self._queue.recover_seconds
            if self._is_well:
                try:
                    await self._recover()
                except Unavailable:
                    self._is_well = False
            await asyncio.sleep(next_beat - monotonic())

    async def keep_auditing(self) -> None:
        """Audit the queue once a minute until cancelled; one of all servers does, whoever comes first."""
        while True:
            await asyncio.sleep(_AUDIT_LOOK_SECONDS)
            if self._is_well:
                try:
                    self._note_repairs(await self._queue.audit())
                except Unavailable as error:  # for example if the user of Redis has no right to scan
                    log.warning("the queue could not be audited; later again", reason=str(error))

    async def look(self) -> None:
        """Stop overdue jobs; check, measure and forget if it is time for each. Call this every `recover_seconds`.

        Raises Unavailable and RedisUnfit. After either error, the next call checks Redis first, because it may be a
        different Redis now, and then recovers.
        """
        try:
            if not self._is_well:
                await self._begin()
            await self._look()
        except (Unavailable, RedisUnfit):
            self._is_well = False
            raise

    async def _begin(self) -> None:
        await self._check()
        await self._recover()
        self._is_well = True

    async def _look(self) -> None:
        await self._stop_overdue()
        now = monotonic()
        if now - self._checked >= _CHECK_SECONDS:
            await self._check()
        if now - self._measured >= _GAUGE_SECONDS:
            self._measured = now
            await self._measure()
        if now - self._expired >= _EXPIRE_SECONDS:
            self._expired = now
            await self._queue.expire()
            await self._recount()

    async def _check(self) -> None:
        now = monotonic()
        await self._queue.check()
        self._checked = now

    async def _recover(self) -> None:
        recovered = await self._queue.recover()
        if recovered:
            RECOVERED_SAMPLES.inc(recovered)
            log.warning("samples recovered from a silent worker", count=recovered)

    async def _stop_overdue(self) -> None:
        overdue = await self._queue.stop_overdue()
        if overdue:
            OVERDUE_JOBS.inc(overdue)
            log.info("jobs stopped at their deadlines", count=overdue)

    async def _recount(self) -> None:
        recounted = await self._queue.recount()
        if recounted.wrong_totals:
            CORRECTED_TOTALS.inc(recounted.wrong_totals)
            log.warning("totals of the queue were wrong and are right now", count=recounted.wrong_totals)
        if recounted.damaged_jobs:
            log.warning("records of jobs in Redis are damaged", jobs=recounted.damaged_jobs[:_NAMED])

    def _note_repairs(self, repairs: Mapping[str, int]) -> None:
        for what, number in repairs.items():
            REPAIRS.labels(what).inc(number)
        if repairs:
            log.error("the queue was not as its scripts leave it, and was repaired", repairs=dict(repairs))

    async def _measure(self) -> None:
        self._depths.note(self, await self._queue.depth())


class Depths:
    """The gauges of the queue: sums over its parts, of what was last seen of each."""

    def __init__(self) -> None:
        self._seen: dict[object, QueueDepth] = {}

    def note(self, part: object, depth: QueueDepth) -> None:
        """Set the gauges, now that this part is so deep."""
        self._seen[part] = depth
        depth = QueueDepth.of_all(list(self._seen.values()))
        QUEUED_JOBS.labels("QUEUED").set(depth.queued_jobs)
        QUEUED_JOBS.labels("PAUSED").set(depth.paused_jobs)
        QUEUED_JOBS.labels("RUNNING").set(depth.running_jobs)
        QUEUE_SAMPLES.labels("ready").set(depth.ready_samples)
        QUEUE_SAMPLES.labels("running").set(depth.running_samples)
        QUEUE_AGE_SECONDS.set(depth.oldest_seconds)
        QUEUE_WORKERS.set(depth.workers)
