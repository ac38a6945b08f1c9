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
from worker.draining import Draining
from worker.drawing import Drawing
from worker.engine import Engine
from worker.held_samples import HeldSamples
from worker.lease import EngineHung, Lease
from worker.parts import Parts
from worker.reporter import Reporter
from worker.scheduler import Scheduler
from worker.signals import Signals
from worker.waiting import wait_until

log = structlog.get_logger()


class Worker:
    """One worker: an engine, the slots it fills, and its place in the queue.

    The event loop talks to Redis and the engine's thread computes. While a tick is drawn, the last one's rows are
    committed and the next samples claimed. A slow Redis does not stop the drawing: uncommitted rows wait, and go in one
    call when Redis answers. A worker holds at most two samples for each slot.

    Each role is one task or two. They share `Parts` and wake each other by the signals of worker/signals.py.
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
        self._slots = slots
        self._grace_seconds = grace_seconds
        signals = Signals()
        self._parts = parts = Parts(
            worker=self.name,
            queue=queue,
            engine=engine,
            scheduler=Scheduler(slots, interactive_slots=ceil(interactive_share * slots)),
            held=HeldSamples(),
            signals=signals,
            contact=Contact(signals, clock),
            reporter=Reporter(clock),
        )
        self._drawing, self._committing = Drawing(parts), Committing(parts)
        self._lease = Lease(parts, seconds=lease_seconds)
        self._claiming = Claiming(
            parts,
            drawing=self._drawing,
            lease=self._lease,
            slots=slots,
            fingerprint=fingerprint,
            clock=clock,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Draw until told to stop, then hand back what is unfinished; raises EngineHung."""
        SLOTS.set(self._slots)
        log.info("worker ready", worker=self.name, slots=self._slots, models=len(self._parts.engine.digests))
        try:
            async with asyncio.timeout(None) as grace:
                await self._work(stopping, grace)
                await self._committing.hand_back()
        except TimeoutError as error:
            log.warning(
                "samples not handed back", count=len(self._parts.held), grace_seconds=self._grace_seconds
            )
            if self._parts.engine.busy_seconds:
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
            tasks.create_task(Draining(self._parts).run(stopping))
            tasks.create_task(self._load_new_models())

    async def _stop_when(self, stopping: asyncio.Event, grace: asyncio.Timeout) -> None:
        await stopping.wait()
        log.info("worker stops", worker=self.name, samples=len(self._parts.held))
        grace.reschedule(asyncio.get_running_loop().time() + self._grace_seconds)
        self._parts.signals.stop()

    async def _load_new_models(self) -> None:
        while not await wait_until(self._parts.signals.stopping, seconds=LOOK_SECONDS):
            await self._parts.engine.load()
