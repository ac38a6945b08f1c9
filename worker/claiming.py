"""Claims samples: keeps the slots filled, and lets interactive samples in when there is no free slot."""

from collections.abc import Callable, Sequence
from math import ceil

from smalti.errors import SampleFailed, Unavailable
from smalti.jobs.connection import MemoryFull
from smalti.jobs.job import Claim
from worker.drawing import Drawing
from worker.lease import Lease
from worker.parts import Parts
from worker.plan import plan
from worker.sample import Sample, refused
from worker.waiting import wait_for_bell, wait_until

_IDLE_SECONDS = 1.0  # longest pause between two claims, or between two looks for interactive samples


class Claiming:
    """Two tasks: one claims, the other listens for interactive samples."""

    def __init__(
        self,
        parts: Parts,
        *,
        drawing: Drawing,
        lease: Lease,
        among: int,
        slots: int,
        fingerprint: str,
        clock: Callable[[], float],
    ) -> None:
        self._queue = parts.queue
        self._engine = parts.engine
        self._worker = parts.worker
        self._scheduler = parts.scheduler
        self._held = parts.held
        self._signals = parts.signals
        self._contact = parts.contact
        self._reporter = parts.reporter
        self._drawing = drawing
        self._lease = lease
        self._among = among  # parts of the queue, which share the room
        self._slots = slots
        self._fingerprint = fingerprint
        self._clock = clock
        self._interactive_may_wait = False  # set by `listen`, cleared by a claim

    async def run(self) -> None:
        """Claim whenever there is room. An idle worker claims too, so that the queue knows it is there."""
        while not self._signals.stopping.is_set():
            room, interactive = self._room(), self._interactive_room()
            if room <= 0 and not (interactive and self._interactive_may_wait):
                await self._signals.room.wait()
            elif self._lease.is_stuck:  # a claim would renew the lease
                await wait_until(self._signals.stopping, seconds=self._lease.seconds / 3)
            else:
                await self._claim_or_wait(max(0, room), interactive)

    async def listen(self) -> None:
        """Let a worker without room claim interactive samples: when the bell rings, and about once a second."""
        while not self._signals.stopping.is_set():
            try:
                await wait_for_bell(self._queue.wait_for_interactive(_IDLE_SECONDS), self._signals.stopping)
                self._contact.read_answered()
                self._interactive_may_wait = True
                self._signals.room.notify()
            except Unavailable as error:
                await self._contact.wait_out(error, is_read=True)

    def _room(self) -> int:
        """How many samples to claim; bounded, so that a slow Redis does not let ended ones pile up."""
        return min(self._share_of(self._scheduler.room), self._holdable)

    def _interactive_room(self) -> int:
        """How many interactive samples to claim even if no slot is free; bounded likewise."""
        return max(0, min(self._share_of(self._scheduler.interactive_room), self._holdable))

    def _share_of(self, room: int) -> int:
        """The room for this part of the queue. It asks again while it gets all that it asks for."""
        return ceil(room / self._among)

    @property
    def _holdable(self) -> int:
        """How many more samples this worker may hold: two for each slot in all."""
        return 2 * self._slots - len(self._held)

    async def _claim_or_wait(self, room: int, interactive: int) -> None:
        try:
            claims = await self._claim(room, interactive)
            if room and not claims:  # the queue has no more
                await self._wait_for_work()
            elif claims and not room:  # there may be more interactive samples
                self._interactive_may_wait = True
        except MemoryFull:
            self._contact.claim_refused()
            await wait_until(self._signals.stopping, seconds=_IDLE_SECONDS)
        except Unavailable as error:
            await self._contact.wait_out(error)

    async def _claim(self, limit: int, interactive: int) -> Sequence[Claim]:
        if interactive:  # otherwise some may still wait until others make way for them
            self._interactive_may_wait = False
        claims = await self._queue.claim(
            self._worker,
            sequence=self._held.next_claim,
            digests=self._engine.digests,
            fingerprint=self._fingerprint,
            limit=limit,
            interactive=interactive,
            slots=self._slots,
        )
        self._contact.claim_answered()
        if claims:
            self._reporter.claimed(claims)
            self._take_on([self._plan(claim) for claim in claims])
        self._held.next_claim += (
            1  # only now: if the reply is lost, the same number brings the same samples again
        )
        return claims

    def _plan(self, claim: Claim) -> Sample:
        now = self._clock()
        try:
            manifest = self._engine.manifest(claim.request.digest)
            return Sample(claim, plan(claim, manifest), claimed_at=now)
        except SampleFailed as error:
            return refused(claim, error, claimed_at=now)

    def _take_on(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self._held.add(sample)
        drawable = [sample for sample in samples if sample.outcome is None]
        self._scheduler.enqueue(drawable)
        if any(sample.is_interactive for sample in drawable):
            self._drawing.plan_again()
        self._signals.work.notify()
        self._signals.news.notify()

    async def _wait_for_work(self) -> None:
        """Wait until the queue's bell rings, or until the queue must hear from this worker again."""
        seconds = min(_IDLE_SECONDS, self._lease.seconds / 3)
        await wait_for_bell(self._queue.wait_for_work(seconds), self._signals.stopping)
