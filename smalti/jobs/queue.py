"""Keeps jobs, their samples and their rows in Redis."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from redis.asyncio import Redis

from smalti.jobs.job import (
    Claim,
    CommitReply,
    Job,
    JobRequest,
    Progress,
    QueueDepth,
    SampleResult,
    SampleRows,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much the queue of one pool takes before it says that it is full."""

    jobs: int = 10_000  # that have not ended
    pixels: int = 2_000_000_000  # still to be drawn, in all jobs
    samples_per_job: int = 1_000_000


DEFAULT_LIMITS = QueueLimits()

# JobQueue.list hides the builtin in the class's annotations.
Claims: TypeAlias = list[Claim]
CommitReplies: TypeAlias = list[CommitReply]
RowsInProgress: TypeAlias = list[SampleRows]
EndedSamples: TypeAlias = list[tuple[int, bool]]


class JobQueue:
    """The queue of one pool; several on one Redis do not see each other."""

    def __init__(
        self,
        redis: Redis,
        *,
        pool: str = "default",
        lease_seconds: float = 10.0,
        limits: QueueLimits = DEFAULT_LIMITS,
    ) -> None:
        raise NotImplementedError

    @property
    def recover_seconds(self) -> float:
        """How often somebody must call `recover`: four times a lease, at least once a second.

        A longer silence (half a lease) is taken for an outage, after which every worker first gets a fresh lease.
        """
        raise NotImplementedError

    async def check(self, *, allow_volatile: bool = False) -> None:
        raise NotImplementedError

    async def submit(self, request: JobRequest, *, request_id: str = "", client: str = "") -> Job:
        raise NotImplementedError

    async def get(self, job_id: str) -> Job:
        raise NotImplementedError

    async def list(self, *, limit: int, page_token: str = "") -> tuple[list[Job], str]:
        raise NotImplementedError

    async def cancel(self, job_id: str) -> Job:
        raise NotImplementedError

    async def delete(self, job_id: str) -> None:
        raise NotImplementedError

    async def claim(
        self, worker: str, *, sequence: int, digests: Sequence[str], fingerprint: str, limit: int
    ) -> Claims:
        """Take up to `limit` samples of jobs whose model is in `digests`.

        The same sequence number again gives the same samples: count up only after a reply, and use one worker name
        for one process.
        """
        raise NotImplementedError

    async def commit(self, worker: str, progress: Sequence[Progress]) -> CommitReplies:
        """Store what was drawn since the last commit; a Progress without pixels asks whether the sample goes on."""
        raise NotImplementedError

    async def renew(self, worker: str) -> bool:
        raise NotImplementedError

    async def leave(self, worker: str) -> None:
        raise NotImplementedError

    async def recover(self) -> int:
        raise NotImplementedError

    async def expire(self) -> int:
        raise NotImplementedError

    def results(self, job_id: str, *, start: int = 0, limit: int = 0) -> AsyncIterator[SampleResult]:
        """Ended samples with indices from `start`, in order; `limit` is the number of indices, 0 means all."""
        raise NotImplementedError

    async def rows(self, job_id: str, known: Mapping[int, int], *, limit: int = 256) -> RowsInProgress:
        """Rows of samples in progress beyond the `known` number of rows of an index; the `limit` lowest indices."""
        raise NotImplementedError

    async def ended(self, job_id: str, *, cursor: int = 0, limit: int = 10_000) -> tuple[EndedSamples, int]:
        """(index, succeeded) of samples in the order in which they ended, from `cursor`; and the next cursor."""
        raise NotImplementedError

    async def wait_for_work(self, seconds: float) -> None:
        raise NotImplementedError

    def events(self) -> AsyncIterator[str]:
        """Ids of jobs on which something happened, for ever; raises Unavailable when Redis goes away."""
        raise NotImplementedError

    async def depth(self) -> QueueDepth:
        raise NotImplementedError

    async def ping(self) -> None:
        raise NotImplementedError
