"""Draws the samples that the queue hands out: claims, ticks and commits go on side by side until it is told to stop."""

import asyncio
import os
import secrets
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from math import ceil
from time import monotonic
from typing import Any

import structlog

from smalti.errors import SampleFailed, SmaltiError, Unavailable
from smalti.jobs.connection import MemoryFull
from smalti.jobs.job import Claim, Failed
from smalti.jobs.workers import WorkerQueue
from smalti.runtime.following import LOOK_SECONDS
from smalti.runtime.metrics import COMMIT_SECONDS, SLOTS, SLOTS_OCCUPIED
from worker.admission import plan
from worker.engine import Drawing, Engine, Rows
from worker.ledger import Entry, Ledger
from worker.reporter import Reporter
from worker.sample import Sample, refused
from worker.scheduler import Scheduler, Tick
from worker.waiting import wait_until

log = structlog.get_logger()

_IDLE_SECONDS = 1.0  # at most, between two claims of a worker that has room, or looks for interactive samples
_RETRY_SECONDS = 0.2  # between two calls while Redis is away
_ROWS_AGAIN = 32  # that a suspect draws again in one turn, while all others wait
_TICKS_AHEAD = 2  # the one that is drawn, and the one after it
_LOOKS_PER_LEASE = 3  # at whether a tick came to its end, so that the lease may be renewed
_LEASES_UNTIL_HUNG = 2.0  # a tick that takes so many leases will never end


class EngineHung(SmaltiError):
    """One tick has taken so long that its samples belong to others by now."""


class Worker:
    """One worker: an engine, the slots it fills, and its place in the queue.

    The event loop talks to Redis and the engine's thread computes, so while a tick is drawn, the last one's rows are
    committed and the next samples claimed. A slow Redis never idles the processor: what is not committed yet waits, at
    most two samples for each slot, and goes in one call when Redis answers.
    """

    def __init__(
        self,
        queue: WorkerQueue,
        engine: Engine,
        *,
        slots: int,
        fingerprint: str,
        lease_seconds: float,
        interactive_share: float = 0.5,
        grace_seconds: float = 10.0,
        name: str | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._queue = queue
        self._engine = engine
        self._slots = slots
        self._fingerprint = fingerprint
        self._lease_seconds = lease_seconds
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._scheduler = Scheduler(slots, interactive_slots=ceil(interactive_share * slots))
        self._ledger = Ledger()
        self._reporter = Reporter(clock)
        self._claims = 0  # sequence number of the next claim
        self._somebody_waits = False  # perhaps, for an interactive sample
        self._under_way: deque[Drawing] = deque()
        self._stopping = asyncio.Event()
        self._has_room, self._has_work, self._has_news = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._has_answer = asyncio.Event()  # of Redis, to a commit; or there is none

    async def run(self, stopping: asyncio.Event) -> None:
        """Draw until told to stop, then hand back what is unfinished; raises EngineHung."""
        SLOTS.set(self._slots)
        log.info("worker ready", worker=self.name, slots=self._slots, models=len(self._engine.digests))
        try:
            async with asyncio.timeout(None) as grace:
                await self._work(stopping, grace)
                await self._hand_back()
        except TimeoutError as error:
            log.warning("samples not handed back", count=len(self._ledger), grace_seconds=self._grace_seconds)
            if self._engine.busy_seconds:
                raise EngineHung(
                    "The engine did not come to the end of its tick before the grace ended."
                ) from error
        log.info("worker stopped", worker=self.name)

    async def _work(self, stopping: asyncio.Event, grace: asyncio.Timeout) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stop_when(stopping, grace))
            tasks.create_task(self._claim_samples())
            tasks.create_task(self._listen_for_interactive())
            tasks.create_task(self._draw_rows())
            tasks.create_task(self._commit_rows())
            tasks.create_task(self._keep_lease())
            tasks.create_task(self._load_new_models())

    async def _stop_when(self, stopping: asyncio.Event, grace: asyncio.Timeout) -> None:
        await stopping.wait()
        log.info("worker stops", worker=self.name, samples=len(self._ledger))
        grace.reschedule(asyncio.get_running_loop().time() + self._grace_seconds)
        self._stopping.set()
        for event in (self._has_room, self._has_work, self._has_news, self._has_answer):
            event.set()

    # Claims

    async def _claim_samples(self) -> None:
        """Keep the slots filled, and a worker without samples known to the queue; let nobody wait for a free slot."""
        while not self._stopping.is_set():
            room, interactive = self._room(), self._interactive_room()
            if room <= 0 and not (interactive and self._somebody_waits):
                await _wait_for(self._has_room)
                continue
            if self._is_stuck:  # a claim would renew the lease
                await wait_until(self._stopping, seconds=self._lease_seconds / 3)
                continue
            try:
                claims = await self._claim(max(0, room), interactive)
                if len(claims) < room:  # all there is
                    await self._wait_for_work()
            except MemoryFull:
                self._reporter.redis_full()
                await wait_until(self._stopping, seconds=_IDLE_SECONDS)
            except Unavailable as error:
                await self._wait_out(error)

    def _room(self) -> int:
        """How many samples to claim; bounded, so that a slow Redis does not let ended ones pile up."""
        return min(self._scheduler.room, 2 * self._slots - len(self._ledger))

    def _interactive_room(self) -> int:
        """How many interactive samples to claim, though there may be no free slot; bounded likewise."""
        return max(0, min(self._scheduler.interactive_room, 2 * self._slots - len(self._ledger)))

    @property
    def _is_stuck(self) -> bool:
        return self._engine.busy_seconds >= self._lease_seconds

    async def _claim(self, limit: int, interactive: int) -> Sequence[Claim]:
        self._somebody_waits = False
        claims = await self._queue.claim(
            self.name,
            sequence=self._claims,
            digests=self._engine.digests,
            fingerprint=self._fingerprint,
            limit=limit,
            interactive=interactive,
            slots=self._slots,
        )
        self._claims += 1  # only now: had the reply been lost, the same number would bring it again
        self._reporter.claims_answered()
        self._redis_answered()
        if claims:
            self._reporter.claimed(claims)
            self._take_on([self._admit(claim) for claim in claims])
        return claims

    def _admit(self, claim: Claim) -> Sample:
        now = self._clock()
        try:
            manifest = self._engine.manifest(claim.request.digest)
            return Sample(claim, plan(claim, manifest), claimed_at=now)
        except SampleFailed as error:
            return refused(claim, error, claimed_at=now)

    def _take_on(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self._ledger.add(sample)
        drawable = [sample for sample in samples if sample.outcome is None]
        self._scheduler.enqueue(drawable)
        if any(sample.is_interactive for sample in drawable):
            self._plan_again()
        self._has_work.set()
        self._has_news.set()  # of those that were refused

    async def _wait_for_work(self) -> None:
        """Until the queue's bell rings, or it is time to be seen again."""
        await self._or_stop(self._queue.wait_for_work(min(_IDLE_SECONDS, self._lease_seconds / 3)))

    async def _listen_for_interactive(self) -> None:
        """Have a worker without room look for interactive samples, whenever there is one and now and then."""
        while not self._stopping.is_set():
            try:
                await self._or_stop(self._queue.wait_for_interactive(_IDLE_SECONDS))
                self._redis_answered()
                self._somebody_waits = True
                self._has_room.set()
            except Unavailable as error:
                await self._wait_out(error)

    async def _or_stop(self, bell: Awaitable[None]) -> None:
        """Until the bell rings, or the worker stops."""
        rung = asyncio.ensure_future(bell)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({rung, stop}, return_when=asyncio.FIRST_COMPLETED)
            if rung.done():
                rung.result()
        finally:
            await _cancel(rung, stop)

    # Ticks

    async def _draw_rows(self) -> None:
        """Draw one row of every sample in progress, again and again.

        The engine always has a tick to go on with: it need not wait until this loop has its turn.
        """
        while not self._stopping.is_set() or self._under_way:
            if not self._under_way:
                await self._draw_suspect()
            self._look_ahead()
            if self._under_way:
                drawing = self._under_way.popleft()
                self._take_rows(drawing.tick, await drawing)
            else:
                await _wait_for(self._has_work)

    def _look_ahead(self) -> None:
        ahead = 1 if self._scheduler.suspect else _TICKS_AHEAD
        while len(self._under_way) < ahead and (tick := self._next_tick()):
            self._under_way.append(self._engine.draw(tick))

    async def _draw_suspect(self) -> None:
        """Bring the suspect, if there is one, towards its next new row; after that it is a sample like any other.

        While it draws, nothing is drawn beside it, and Redis knows so: if this process dies, only this sample is
        charged with it, and never for what another one did.
        """
        suspect = self._scheduler.next_suspect()
        if suspect is None or self._reporter.is_redis_away or self._stopping.is_set():
            return
        suspect.is_begun = True
        if await self._tell(suspect):
            await self._draw_apart(suspect)
        suspect.is_begun = False
        if await self._tell(suspect) and suspect.is_cleared:
            self._scheduler.clear(suspect)

    async def _draw_apart(self, suspect: Sample) -> None:
        """Rows that are drawn again, some at a time; or the new one, once Redis knows that it is begun."""
        for _ in range(min(_ROWS_AGAIN, suspect.rows_again)):
            await self._draw_row_of(suspect)
        if not suspect.rows_again and await self._tell(suspect):
            await self._draw_row_of(suspect)

    async def _draw_row_of(self, suspect: Sample) -> None:
        if self._scheduler.suspect is suspect:  # it may have been lost meanwhile
            tick = self._scheduler.suspect_tick()
            self._take_rows(tick, await self._engine.draw(tick))

    async def _tell(self, suspect: Sample) -> bool:
        """Wait until Redis knows how far the suspect is; False where it cannot be told, or is not this worker's."""
        self._has_news.set()
        while suspect.has_news and self._ledger.holds(suspect) and not self._stopping.is_set():
            await _wait_for(self._has_answer)
            if self._reporter.is_redis_away:
                return False
        return self._ledger.holds(suspect) and not suspect.has_news

    def _plan_again(self) -> None:
        """Have a sample that just came in the very next tick, not in the one after it."""
        if self._under_way and self._under_way[-1].recall():
            self._scheduler.take_back(self._under_way.pop().tick)
            if tick := self._next_tick():
                self._under_way.append(self._engine.draw(tick))

    def _next_tick(self) -> Tick | None:
        if self._stopping.is_set():
            return None
        tick = self._scheduler.next_tick()
        SLOTS_OCCUPIED.set(len(tick.lanes) if tick else 0)
        self._has_room.set()
        return tick

    def _take_rows(self, tick: Tick, rows: Rows) -> None:
        for sample, row in zip(tick.samples, rows, strict=True):
            if isinstance(row, SampleFailed):
                sample.fail(str(row))
            else:
                sample.append(row)
        self._scheduler.release([sample for sample in tick.samples if isinstance(sample.outcome, Failed)])
        self._reporter.drawn(tick)
        self._has_news.set()

    # Commits

    async def _commit_rows(self) -> None:
        """Tell Redis what is new; one call at a time, so a sample's rows arrive in order."""
        while not self._stopping.is_set():
            entries = self._ledger.news()
            if not entries:
                await _wait_for(self._has_news)
                continue
            try:
                await self._commit(entries)
            except Unavailable as error:
                await self._wait_out(error)

    async def _commit(self, entries: Sequence[Entry]) -> None:
        with COMMIT_SECONDS.time():
            replies = await self._queue.commit(self.name, [entry.progress for entry in entries])
        gone = []
        for entry, reply in zip(entries, replies, strict=True):
            self._reporter.answered(entry, reply)
            if self._ledger.settle(entry, reply):
                self._reporter.ended(entry, reply)
                if reply.ends_job:
                    self._reporter.job_ended(entry.sample)
                gone.append(entry)
        self._scheduler.release([entry.sample for entry in gone])
        if gone:
            self._has_room.set()
        self._redis_answered()

    def _redis_answered(self) -> None:
        self._reporter.redis_answered()
        self._has_answer.set()
        if self._scheduler.suspect:  # it may wait to be told
            self._has_work.set()

    # Lease

    async def _keep_lease(self) -> None:
        """Renew the lease while ticks come to an end; a hung engine must not look alive.

        Looks are counted, and not seconds: a process that was stopped (SIGSTOP, a paused container, a machine that
        slept) wakes with its clock far ahead and its engine where it was, which is no sign of a hang.
        """
        looks, looked = 0, monotonic()
        while not await wait_until(self._stopping, seconds=self._lease_seconds / _LOOKS_PER_LEASE):
            busy, now = self._engine.busy_seconds, monotonic()
            looks, looked = (looks + 1 if busy >= now - looked else 0), now  # in a row that saw the same tick
            if looks >= _LEASES_UNTIL_HUNG * _LOOKS_PER_LEASE:
                raise EngineHung(
                    f"One tick has taken {busy:.1f} s, so this worker gives up its samples and stops."
                )
            if self._ledger and not self._is_stuck:
                await self._renew(self._ledger.held)

    async def _renew(self, held: Collection[Sample]) -> None:
        try:
            renewed = await self._queue.renew(self.name)
        except Unavailable as error:
            self._reporter.redis_away(error)
            return
        self._redis_answered()
        if not renewed:  # only what was held before the call: newer claims came with a new lease
            self._reporter.lease_lost(len(held))
            self._ledger.drop(held)
            self._scheduler.release(held)
            self._has_room.set()
            self._has_answer.set()

    # The rest

    async def _load_new_models(self) -> None:
        while not await wait_until(self._stopping, seconds=LOOK_SECONDS):
            await self._engine.load()

    async def _hand_back(self) -> None:
        """Commit all rows, release every sample without an attempt charged, and leave the queue."""
        while True:
            try:
                while entries := self._ledger.farewell():
                    await self._commit(entries)
                await self._queue.leave(self.name)
                return
            except Unavailable as error:
                self._reporter.redis_away(error)
                if not self._ledger:  # its lease will run out
                    return
                await asyncio.sleep(_RETRY_SECONDS)

    async def _wait_out(self, error: Unavailable) -> None:
        self._reporter.redis_away(error)
        self._has_answer.set()
        await wait_until(self._stopping, seconds=_RETRY_SECONDS)


async def _wait_for(event: asyncio.Event) -> None:
    await event.wait()
    event.clear()


async def _cancel(*futures: asyncio.Future[Any]) -> None:
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
