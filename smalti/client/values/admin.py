"""What those who run the queue learn about it: frozen values, which know nothing of gRPC."""

from dataclasses import dataclass
from datetime import datetime

from smalti.client.values.brief import Brief


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker as the queue knows it."""

    name: str
    fingerprint: str
    slots: int
    held: int  # samples; may be more than slots for a moment
    lease_seconds: float  # left; negative if its lease has run out
    draining: bool  # it was asked to end
    digests: tuple[str, ...]  # of its models


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStatus:
    """What a client has in the queue: jobs that have not ended, and the bytes of all its jobs."""

    name: str
    jobs: int
    ready: int
    running: int
    pixels: int  # not drawn yet
    bytes: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class QueueStatistics(Brief):
    """The queue at a moment."""

    paused: bool
    queued_jobs: int  # no sample was claimed yet
    running_jobs: int
    paused_jobs: int
    ready_samples: int  # that a worker may claim now
    running_samples: int
    dead_samples: int  # that failed, as far as they are remembered
    oldest_seconds: float  # age of the oldest queued job
    workers: tuple[WorkerStatus, ...]
    clients: tuple[ClientStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadSample:
    """A sample that failed."""

    job: str
    index: int
    client: str
    failed: datetime
    rows: int  # rows that were drawn before
    error: str
