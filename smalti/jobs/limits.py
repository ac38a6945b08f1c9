"""How much the queue takes, from all clients and from each of them, and what is said when it takes no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from smalti.errors import Busy, LimitReached, QueueFull

RECORD_BYTES = 3_500  # what Redis needs for a job beside its request, kept pixels and results
RESULT_BYTES = 170  # what it needs for a result beside its pixels
KEPT_BYTES = (
    110  # what it needs for a sample's own kept pixels beside these, which it rounds up by a fifth at most
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """How much one client may have. None: what the server's settings say, or no limit where they say nothing."""

    jobs: int | None = None  # jobs that have not ended
    pixels: int | None = None  # pixels not drawn yet, in all its jobs
    result_bytes: int | None = None  # of its jobs and their results, also of jobs that ended

    def over(self, usual: "ClientLimits") -> "ClientLimits":
        """These limits, and the usual ones where these say nothing."""
        return ClientLimits(
            jobs=usual.jobs if self.jobs is None else self.jobs,
            pixels=usual.pixels if self.pixels is None else self.pixels,
            result_bytes=usual.result_bytes if self.result_bytes is None else self.result_bytes,
        )


UNSAID = ClientLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much the queue of one pool holds before it is full."""

    jobs: int = 10_000  # jobs that have not ended
    pixels: int = 2_000_000_000  # pixels not drawn yet, in all jobs
    result_bytes: int = 10**15  # of all jobs and their results, also of jobs that ended
    samples_per_job: int = 1_000_000
    client: ClientLimits = UNSAID  # of each client that has a name


DEFAULT_LIMITS = QueueLimits()


def kept_bytes_of(kept: Sequence[bytes]) -> int:
    """The bytes of Redis that kept pixels of samples take until the job ends."""
    return sum(len(data) * 6 // 5 + KEPT_BYTES for data in kept)


class Asker(Protocol):
    """Who asks: a client by its name, or a server that asks for itself."""

    @property
    def name(self) -> str:
        """Empty where the server asks for no tokens: then all clients are one, and only the pool limits it."""
        ...

    @property
    def sees_all(self) -> bool:
        """Whether it sees, cancels and deletes the jobs of others."""
        ...

    @property
    def limits(self) -> ClientLimits:
        """Its own limits."""
        ...


@dataclass(frozen=True, slots=True)
class Everybody:
    """All clients of a server without tokens; also the server itself."""

    name: str = ""
    sees_all: bool = True
    limits: ClientLimits = UNSAID


EVERYBODY = Everybody()


def limits_of(asker: Asker, limits: QueueLimits) -> ClientLimits:
    """How much this client may have."""
    return asker.limits.over(limits.client) if asker.name else UNSAID


def refusal(
    whose: str, what: str, used: int, *, pool: QueueLimits, client: ClientLimits, retry_seconds: float
) -> Busy:
    """The error for a submit that submit.lua refused: LimitReached or QueueFull."""
    is_clients = whose == "client"
    limits = client if is_clients else pool
    limit = {"jobs": limits.jobs, "pixels": limits.pixels, "bytes": limits.result_bytes}[what]
    kind = LimitReached if is_clients else QueueFull
    return kind(_SENTENCES[whose][what].format(used=used, limit=limit), retry_seconds=retry_seconds)


_SENTENCES = {  # for each of whose limits it is, then for what it limits
    "client": {
        "jobs": "You have {used} of at most {limit} unfinished jobs: wait until one ends, or cancel one.",
        "pixels": "Your unfinished jobs have {used} pixels to draw, and with this job they would exceed your limit of "
        "{limit}: wait until more are drawn, cancel a job, or submit a smaller one.",
        "bytes": "Your jobs and their results take {used} bytes, and with this job they would exceed your limit of "
        "{limit}: delete jobs whose results you have, or wait until their retention ends.",
    },
    "pool": {
        "jobs": "The queue is full: it has {used} of at most {limit} unfinished jobs; try again later.",
        "pixels": "The queue is full: its jobs have {used} pixels to draw, and with this job they would exceed its "
        "limit of {limit}; try again later, or submit a smaller job.",
        "bytes": "The queue is full: its jobs and their results take {used} bytes, and with this job they would exceed "
        "its limit of {limit}; delete jobs whose results you have, or try again when others have expired.",
    },
}
