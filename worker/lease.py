"""Keeps the worker's lease while its ticks come to an end: a worker with a hung engine must not look alive."""

from collections.abc import Collection
from time import monotonic

from smalti.errors import SmaltiError, Unavailable
from worker.parts import Parts
from worker.sample import Sample
from worker.waiting import wait_until

_LOOKS_PER_LEASE = 3  # how often to look whether the tick has ended; each look may renew the lease
_LEASES_UNTIL_HUNG = 2.0  # a tick that takes so many leases will never end


class EngineHung(SmaltiError):
    """One tick has taken so long that its samples belong to others by now."""


class Lease:
    """The worker's right to its samples."""

    def __init__(self, parts: Parts, *, seconds: float) -> None:
        self.seconds = seconds
        self._queue = parts.queue
        self._engine = parts.engine
        self._worker = parts.worker
        self._scheduler = parts.scheduler
        self._held = parts.held
        self._signals = parts.signals
        self._contact = parts.contact
        self._reporter = parts.reporter

    @property
    def is_stuck(self) -> bool:
        """Whether the tick under way has taken a whole lease: then nothing may renew the lease."""
        return self._engine.busy_seconds >= self.seconds

    async def run(self) -> None:
        """Renew the lease again and again. Raises EngineHung.

        A hang is found by counting looks, not seconds. A process that was stopped (SIGSTOP, a paused container, a
        machine that slept) finds its clock far ahead when it wakes, but its engine did not hang.
        """
        looks, looked = 0, monotonic()  # looks in a row that saw the same tick
        while not await wait_until(self._signals.stopping, seconds=self.seconds / _LOOKS_PER_LEASE):
            busy, now = self._engine.busy_seconds, monotonic()
            looks, looked = (looks + 1 if busy >= now - looked else 0), now
            if looks >= _LEASES_UNTIL_HUNG * _LOOKS_PER_LEASE:
                raise EngineHung(
                    f"One tick has taken {busy:.1f} s, so this worker gives up its samples and stops."
                )
            if self._held and not self.is_stuck:
                await self._renew(self._held.all)

    async def _renew(self, held: Collection[Sample]) -> None:
        try:
            renewed = await self._queue.renew(
                self._worker, sequence=self._held.next_claim, tokens=self._held.tokens
            )
        except Unavailable as error:
            self._contact.failed(error)
            return
        self._contact.answered()
        if not renewed:  # drop only what was held before the call: newer claims came with a new lease
            self._reporter.lease_lost(held)
            self._held.drop(held)
            self._scheduler.release(held)
            self._signals.room.notify()
            self._signals.work.notify()
