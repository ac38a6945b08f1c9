"""Builds a worker from its roles, runs them side by side until it is told to stop, and stops them in order."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from math import ceil
from time import monotonic

import structlog

from smalti.jobs.workers import WorkerQueue
from smalti.runtime.following import LOOK_SECONDS
from smalti.runtime.metrics import SLOTS
from worker.claiming import Claiming
from worker.committing import Committing
from worker.contact import Contact
from worker.drawing import Drawing
from worker.engine import Engine
from worker.held_samples import HeldSamples
from worker.lease import EngineHung, Lease
from worker.reporter import Reporter
from worker.scheduler import Scheduler
from worker.signals import Signals
from worker.waiting import wait_until

log = structlog.get_logger()


class Worker:
    """One worker: an engine, the slots it fills, and its place in the queue.

    The event loop talks to Redis and the engine's thread computes. While a tick is drawn, the last one's rows are
    committed and the next samples claimed. A slow Redis never idles the processor: rows that are not committed yet
    wait, of at most two samples for each slot, and go in one call when Redis answers.

    The roles share the samples (HeldSamples, Scheduler) and wake each other by the signals in worker/signals.py.
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
        self._engine = engine
        self._slots = slots
        self._grace_seconds = grace_seconds
        self._signals = signals = Signals()
        self._held = held = HeldSamples()
        self._scheduler = scheduler = Scheduler(slots, interactive_slots=ceil(interactive_share * slots))
        contact, reporter = Contact(signals, clock), Reporter(clock)
        self._drawing = Drawing(
            engine, scheduler=scheduler, held=held, signals=signals, contact=contact, reporter=reporter
        )
        self._committing = Committing(
            queue,
            worker=self.name,
            scheduler=scheduler,
            held=held,
            signals=signals,
            contact=contact,
            reporter=reporter,
        )
        self._lease = Lease(
            queue,
            engine,
            worker=self.name,
            seconds=lease_seconds,
            scheduler=scheduler,
            held=held,
            signals=signals,
            contact=contact,
            reporter=reporter,
        )
        self._claiming = Claiming(
            queue,
            engine,
            worker=self.name,
            slots=slots,
            fingerprint=fingerprint,
            scheduler=scheduler,
            held=held,
            drawing=self._drawing,
            lease=self._lease,
            signals=signals,
            contact=contact,
            reporter=reporter,
            clock=clock,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Draw until told to stop, then hand back what is unfinished; raises EngineHung."""
        SLOTS.set(self._slots)
        log.info("worker ready", worker=self.name, slots=self._slots, models=len(self._engine.digests))
        try:
            async with asyncio.timeout(None) as grace:
                await self._work(stopping, grace)
                await self._committing.hand_back()
        except TimeoutError as error:
            log.warning("samples not handed back", count=len(self._held), grace_seconds=self._grace_seconds)
            if self._engine.busy_seconds:
                raise EngineHung(
                    "The engine did not come to the end of its tick before the grace ended."
                ) from error
        log.info("worker stopped", worker=self.name)

    async def _work(self, stopping: asyncio.Event, grace: asyncio.Timeout) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stop_when(stopping, grace))
            tasks.create_task(self._claiming.run())
            tasks.create_task(self._claiming.listen())
            tasks.create_task(self._drawing.run())
            tasks.create_task(self._committing.run())
            tasks.create_task(self._lease.run())
            tasks.create_task(self._load_new_models())

    async def _stop_when(self, stopping: asyncio.Event, grace: asyncio.Timeout) -> None:
        await stopping.wait()
        log.info("worker stops", worker=self.name, samples=len(self._held))
        grace.reschedule(asyncio.get_running_loop().time() + self._grace_seconds)
        self._signals.stop()

    async def _load_new_models(self) -> None:
        while not await wait_until(self._signals.stopping, seconds=LOOK_SECONDS):
            await self._engine.load()
