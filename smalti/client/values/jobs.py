"""What a client learns about jobs and their samples: frozen values, which know nothing of gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TypeAlias

from smalti.client import notebook
from smalti.client.values.brief import Brief
from smalti.client.values.images import NO_CHANGE, ColourChange, Image
from smalti.client.values.models import ModelVersion
from smalti.jobs.job import TERMINAL, JobClass, JobState

NO_LABELS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Job:
    """One request for samples, as the server knows it now."""

    id: str
    model: ModelVersion
    state: JobState
    count: int
    seed: int
    first_index: int
    temperature: float
    height: int
    width: int
    done: int
    failed: int
    running: int  # samples that workers are drawing
    created: datetime | None
    started: datetime | None
    ended: datetime | None
    expires: datetime | None  # results are kept until then
    reason: str  # why it failed or waits, e.g. DEADLINE_EXCEEDED or NO_WORKER_FOR_MODEL
    job_class: JobClass = JobClass.STANDARD
    deadline: datetime | None = None  # if it has not ended by then, it is stopped and fails
    client: str = ""  # the name of the client that submitted it; empty if the server asks for no tokens
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    webhook: str = ""  # the URL that is told when the job has ended
    rpc_id: str = ""  # the request id of its submit: the logs of server and workers have it
    colour_change: ColourChange = NO_CHANGE  # known only in the answer to submit

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be drawn."""
        return self.state in TERMINAL

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self._words}>"

    @property
    def _words(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        reason = f", {self.reason}" if self.reason else ""
        return (
            f"{self.model.name} version {self.model.version}, seed {self.seed}, "
            f"{self.state}, {self.done} of {self.count} samples{failed}{reason}"
        )

    def _repr_png_(self) -> bytes:
        return notebook.bar(self.done, self.failed, self.count)

    def _repr_html_(self) -> str:
        return notebook.figure(self._repr_png_(), f"Job {self.id}: {self._words}")


JobOrId: TypeAlias = Job | str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SampleResult(Brief):
    """The outcome of one sample: its image, or None and the error if it failed."""

    index: int
    image: Image | None
    log_probability: float  # nats, of all pixels
    error: str
    fingerprint: str

    def _repr_png_(self) -> bytes | None:
        return None if self.image is None else self.image._repr_png_()

    def _repr_html_(self) -> str:
        said = self.error or f"log-probability {self.log_probability:.1f} nats"
        return notebook.figure(self._repr_png_(), f"Sample {self.index}: {said}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SampleRows(Brief):
    """More rows of a sample that is being drawn."""

    index: int
    first_row: int
    indices: bytes  # whole rows, as in Image.indices


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SampleEnded(Brief):
    """A sample is complete, or has failed."""

    index: int
    succeeded: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Interrupted(Brief):
    """The server or its Redis is away, or has too many watchers; the watch tries again after `retry_seconds`."""

    message: str
    retry_seconds: float


JobEvent: TypeAlias = Job | SampleRows | SampleEnded | Interrupted
