"""What a job and its samples are: plain values, which know nothing of Redis or ONNX."""

from dataclasses import dataclass
from enum import StrEnum

from smalti.pixels import bytes_per_pixel

TEMPERATURE_RANGE = (0.05, 10.0)


class JobClass(StrEnum):
    """Whose samples are handed out first."""

    INTERACTIVE = "interactive"  # somebody waits: before all others, and into slots that those hold
    STANDARD = "standard"


class JobState(StrEnum):
    """Where a job is between submit and the end of its retention."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """All that decides what a job draws, checked before it is queued."""

    model: str
    version: int
    digest: str  # of the model; only a worker that has loaded it may draw
    rows: int
    columns: int
    colours: int  # size of the palette
    count: int
    seed: int
    first_index: int = 0  # sample i is image first_index + i of the seed
    temperature: float = 1.0
    forced: bytes = b""  # int32 little-endian for each pixel, −1 where it is drawn; empty: all are drawn
    retention_seconds: float = 86400.0
    job_class: JobClass = JobClass.STANDARD

    @property
    def row_bytes(self) -> int:
        """Bytes that store one row."""
        return self.columns * bytes_per_pixel(self.colours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request for images, kept until its results expire; times are seconds since 1970 by Redis' clock."""

    id: str
    request: JobRequest
    state: JobState = JobState.QUEUED
    done: int = 0
    failed: int = 0
    running: int = 0  # samples in some worker's slots
    created: float
    started: float | None = None
    ended: float | None = None
    expires: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One sample handed to a worker, with the right to write it."""

    job: str
    index: int  # 0 … count−1
    token: str  # fencing token: a decimal number larger than any handed out before
    request: JobRequest
    pixels: bytes = b""  # the rows committed so far
    queued_seconds: float = 0.0  # from submit to this claim
    is_suspect: bool = (
        False  # a worker fell silent with it: draw it with nothing beside it, and tell each row before
    )


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
    """The worker gives the sample back; no attempt is charged."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a sample is that shows no new rows: by it the queue tells the culprit from who was beside it."""

    rows: int  # drawn since the claim, those drawn again included
    is_begun: bool = False  # the next row is begun, with nothing beside it


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One sample's part of a commit: rows drawn since the last one, and how it ended, if it did."""

    job: str
    index: int
    token: str
    first_row: int
    pixels: bytes = b""  # whole rows
    place: Place | None = None  # of a suspect, and of a sample whose committed rows are drawn again
    outcome: Finished | Failed | Released | None = None


class Verdict(StrEnum):
    """What became of one Progress."""

    ACCEPTED = "ACCEPTED"
    DUPLICATE = "DUPLICATE"  # a resend: the very bytes were there already
    BEHIND = "BEHIND"  # Redis holds fewer rows than first_row: send again from `CommitReply.rows`
    FENCED = "FENCED"  # the token is no longer the sample's: another worker may have it
    CANCELLED = "CANCELLED"  # the job is being cancelled: drop the sample
    CORRUPT = "CORRUPT"  # other bytes are committed already: an alarm


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitReply:
    """The answer to one Progress."""

    verdict: Verdict
    rows: int  # committed rows of the sample, 0 where the verdict leaves that unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """What one sample came to; `pixels` is empty where it failed."""

    index: int
    pixels: bytes = b""
    log_probability: float = 0.0
    error: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRows:
    """Rows of a sample in progress, for those who watch."""

    index: int
    first_row: int
    pixels: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How much is in the queue now."""

    queued_jobs: int
    running_jobs: int
    ready_samples: int  # claimable now
    running_samples: int
    workers: int  # with a lease
    oldest_seconds: float  # age of the oldest job that waits
