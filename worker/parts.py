"""What the roles of one worker share."""

from dataclasses import dataclass

from smalti.jobs.workers import WorkerQueue
from worker.contact import Contact
from worker.engine import Engine
from worker.held_samples import HeldSamples
from worker.reporter import Reporter
from worker.scheduler import Scheduler
from worker.signals import Signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The queue, the engine, the samples that are held, and the signals between the roles."""

    worker: str  # the worker's name in the queue
    queue: WorkerQueue
    engine: Engine
    scheduler: Scheduler
    held: HeldSamples
    signals: Signals
    contact: Contact
    reporter: Reporter
