"""Builds a worker from its roles, runs them side by side until it is told to stop, and stops them in order."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from math import ceil
from time import monotonic

import structlog

from smalti.jobs.workers import WorkerQueue
from smalti.runtime.following import LOOK_SECONDS
from smalti.runtime.metrics import SLOTS
from worker.contact import Contact
from worker.drawing import Drawing
from worker.engine import Engine
from worker.held_samples import HeldSamples
from worker.lease import EngineHung
from worker.membership import Membership
from worker.parts import Parts
from worker.reporter import Reporter
from worker.scheduler import Scheduler
from worker.signals import Signals
from worker.waiting import wait_until

log = structlog.get_logger()


class Worker:
    """One worker: an engine, the slots it fills, and its place in each part of the queue.

    The event loop talks to Redis and the engine's thread computes. While a tick is drawn, the last one's rows are
    committed and the next samples claimed. A slow Redis does not stop the drawing: uncommitted rows wait, and go in one
    call when Redis answers. A worker holds at most two samples of each part for a slot.

    Each role is one task or two. They share `Parts` and wake each other by the signals of worker/signals.py.
    """

    def __init__(
        self,
        queues: Sequence[WorkerQueue],
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
        self._engine = engine
        self._signals = Signals()
        scheduler = Scheduler(slots, interactive_slots=ceil(interactive_share * slots))
        all_parts = [self._parts(queue, scheduler, clock) for queue in queues]
        self._drawing = Drawing(all_parts)
        self._memberships = [
            Membership(
                parts,
                self._drawing,
                among=len(queues),
                slots=slots,
                fingerprint=fingerprint,
                lease_seconds=lease_seconds,
                clock=clock,
            )
            for parts in all_parts
        ]

    def _parts(self, queue: WorkerQueue, scheduler: Scheduler, clock: Callable[[], float]) -> Parts:
        signals = self._signals.for_another_part()
        return Parts(
            worker=self.name,
            queue=queue,
            engine=self._engine,
            scheduler=scheduler,
            held=HeldSamples(),
            signals=signals,
            contact=Contact(signals, clock),
            reporter=Reporter(clock),
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Draw until told to stop, then hand back what is unfinished; raises EngineHung."""
        SLOTS.set(self._slots)
        log.info("worker ready", worker=self.name, slots=self._slots, models=len(self._engine.digests))
        try:
            async with asyncio.timeout(None) as grace:
                await self._work(stopping, grace)
                await asyncio.gather(*(each.hand_back() for each in self._memberships))
        except TimeoutError as error:
            log.warning("samples not handed back", count=self._held, grace_seconds=self._grace_seconds)
            if self._engine.busy_seconds:
                raise EngineHung(
                    "The engine did not come to the end of its tick before the grace ended."
                ) from error
        log.info("worker stopped", worker=self.name)

    async def _work(self, stopping: asyncio.Event, grace: asyncio.Timeout) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stop_when(stopping, grace))
            tasks.create_task(self._drawing.run())
            for membership in self._memberships:
                membership.start(tasks, stopping)
            tasks.create_task(self._load_new_models())

    @property
    def _held(self) -> int:
        """How many samples it holds."""
        return sum(len(each.parts.held) for each in self._memberships)

    async def _stop_when(self, stopping: asyncio.Event, grace: asyncio.Timeout) -> None:
        await stopping.wait()
        log.info("worker stops", worker=self.name, samples=self._held)
        grace.reschedule(asyncio.get_running_loop().time() + self._grace_seconds)
        self._signals.stop()

    async def _load_new_models(self) -> None:
        while not await wait_until(self._signals.stopping, seconds=LOOK_SECONDS):
            await self._engine.load()
