"""Jobs and their samples as plain values, which know nothing of Redis or ONNX."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from smalti.pixels import bytes_per_pixel

TEMPERATURE_RANGE = (0.05, 10.0)


class JobClass(StrEnum):
    """How a job shares workers with others: by their weights."""

    INTERACTIVE = "interactive"  # somebody waits: other samples make way for these
    STANDARD = "standard"
    BATCH = "batch"  # nobody waits: these take what others leave, and always a little

    @property
    def weight(self) -> int:
        """Its share of a worker's pixels beside the other classes'; shared.lua has the same numbers."""
        return {"interactive": 16, "standard": 4, "batch": 1}[self.value]


class JobState(StrEnum):
    """The state of a job, from submit to the end of its retention."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What a client writes on its job: to find it again, and where to tell of its end."""

    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()  # (key, value), in order of the keys
    webhook: str = ""  # the URL to which its end is told; empty for none


NO_NOTES = Notes()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """Everything that decides what a job draws, and its notes; it is checked before it is queued."""

    model: str
    version: int
    digest: str  # of the model; only workers that have loaded this export may draw
    rows: int
    columns: int
    colours: int  # size of the palette
    count: int
    seed: int
    first_index: int = 0  # sample i is image first_index + i of the seed
    temperature: float = 1.0
    kept: bytes = b""  # an int32, little-endian, for each pixel; −1 if it is drawn; empty if all are
    kept_hash: str = (
        ""  # of the kept pixels of all samples, if each has its own; a claim has those of its sample
    )
    retention_seconds: float = 86400.0
    deadline_seconds: float = 0.0  # from the submit; the job fails if it has not ended by then; 0 for none
    job_class: JobClass = JobClass.STANDARD
    notes: Notes = NO_NOTES

    @property
    def row_bytes(self) -> int:
        """Bytes that store one row."""
        return self.columns * bytes_per_pixel(self.colours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The RPC that submitted a job. Logs and traces name it; nothing that is drawn depends on it."""

    rpc_id: str = ""  # its request id
    traceparent: str = ""  # names its span; empty if it was not traced


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request for images, kept until its results expire; times are seconds since 1970 by Redis' clock."""

    id: str
    request: JobRequest
    client: str = ""  # the name of its owner; empty if it was submitted to a server without tokens
    state: JobState = JobState.QUEUED
    done: int = 0
    failed: int = 0
    running: int = 0  # samples in some worker's slots
    created: float
    started: float | None = None
    ended: float | None = None
    deadline: float | None = None
    expires: float | None = None
    reason: str = ""
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One sample handed to a worker, with the right to write it."""

    job: str
    index: int  # 0 … count−1
    token: str  # fencing token: a decimal number larger than any handed out before
    request: JobRequest
    pixels: bytes = b""  # the rows committed so far
    queued_seconds: float = 0.0  # from submit to this claim
    origin: Origin = Origin()
    is_suspect: bool = False  # a worker fell silent with it: draw it alone, and report each row first


@dataclass(frozen=True, slots=True)
class Finished:
    """The sample is complete."""

    log_probability: float  # nats, of all pixels under the model at temperature 1


@dataclass(frozen=True, slots=True)
class Failed:
    """The sample cannot be drawn."""

    error: str


@dataclass(frozen=True, slots=True)
class Released:
    """The worker gives the sample back; no crash is counted."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a sample without new rows is. With it the queue can tell which sample made a worker crash."""

    rows: int  # drawn since the claim, including rows drawn again
    is_begun: bool = False  # the next row has begun, and the sample is drawn alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One sample's part of a commit: the rows drawn since the last one, and how it ended, if it did."""

    job: str
    index: int
    token: str
    first_row: int
    pixels: bytes = b""  # whole rows
    place: Place | None = None  # only of a suspect, or of a sample whose committed rows are drawn again
    outcome: Finished | Failed | Released | None = None


class Verdict(StrEnum):
    """What the queue did with one Progress."""

    ACCEPTED = "ACCEPTED"
    PAUSED = "PAUSED"  # the rows are there, and the job is paused: give the sample back
    DUPLICATE = "DUPLICATE"  # sent again: the same bytes were there already
    BEHIND = "BEHIND"  # Redis holds fewer rows than first_row: send again from `CommitReply.rows`
    FENCED = "FENCED"  # the token is no longer the sample's: another worker may have it
    CANCELLED = "CANCELLED"  # the job was cancelled, or its deadline has passed: drop the sample
    CORRUPT = "CORRUPT"  # other bytes are committed already: an alarm


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitReply:
    """The answer to one Progress."""

    verdict: Verdict
    rows: int  # committed rows of the sample; 0 if the verdict leaves that unknown
    ends_job: bool = False  # this was the last sample of its job: now all are done or failed


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """The result of one sample; `pixels` is empty if it failed."""

    index: int
    pixels: bytes = b""
    log_probability: float = 0.0
    error: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRows:
    """Rows of a sample in progress, for watchers."""

    index: int
    first_row: int
    pixels: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How much is in the queue now."""

    queued_jobs: int
    running_jobs: int
    paused_jobs: int
    ready_samples: int  # claimable now
    running_samples: int
    workers: int  # workers with a lease
    oldest_seconds: float  # age of the oldest queued job

    @classmethod
    def of_all(cls, parts: Sequence["QueueDepth"]) -> "QueueDepth":
        """The depth of a queue in several parts. Each worker is in every part."""
        return cls(
            queued_jobs=sum(part.queued_jobs for part in parts),
            running_jobs=sum(part.running_jobs for part in parts),
            paused_jobs=sum(part.paused_jobs for part in parts),
            ready_samples=sum(part.ready_samples for part in parts),
            running_samples=sum(part.running_samples for part in parts),
            workers=max(part.workers for part in parts),
            oldest_seconds=max(part.oldest_seconds for part in parts),
        )
