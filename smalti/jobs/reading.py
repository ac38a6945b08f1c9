"""Reads jobs as one client sees them: a job of somebody else looks like one that does not exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smalti.errors import JobDamaged, JobNotFound
from smalti.jobs import codec, script
from smalti.jobs.job import Job, JobRequest, JobState
from smalti.jobs.limits import Asker
from smalti.jobs.store import QueueStore

NO_WORKER = "NO_WORKER_FOR_MODEL"
_READ_AT_ONCE = 64  # jobs in one call, since Redis answers nobody else while it reads them


@dataclass(frozen=True, slots=True)
class _Known:
    """What never changes about a job, without its kept pixels: they may be large, and only workers need them."""

    request: JobRequest
    client: str


class JobRecords:
    """Reads the jobs of a pool."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store

    async def read(self, asker: Asker, job_ids: Sequence[str]) -> Sequence[Job | JobDamaged | None]:
        """These jobs, in order; None for one that the client does not see, JobDamaged for one that cannot be read."""
        jobs: list[Job | JobDamaged | None] = []
        for first in range(0, len(job_ids), _READ_AT_ONCE):
            jobs += await self._read(asker, job_ids[first : first + _READ_AT_ONCE])
        return jobs

    async def _read(self, asker: Asker, job_ids: Sequence[str]) -> list[Job | JobDamaged | None]:
        found = await self._read_known(asker, job_ids)
        known = {job_id: each for job_id, each in found.items() if isinstance(each, _Known)}
        others = {job_id: each for job_id, each in found.items() if not isinstance(each, _Known)}
        jobs = others | await self._read_states(known)
        return [jobs[job_id] for job_id in job_ids]

    async def refresh(self, job_id: str, request: JobRequest, client: str) -> Job:
        """The job of this request as it is now; raises JobNotFound and JobDamaged."""
        states = await self._read_states({job_id: _Known(request, client)})
        return required(job_id, states[job_id])

    async def _read_known(
        self, asker: Asker, job_ids: Sequence[str]
    ) -> dict[str, _Known | JobDamaged | None]:
        answers = await self._store.run(script.REQUESTS, *asking(asker), *job_ids)
        return {job_id: _known(job_id, *answer) for job_id, answer in zip(job_ids, answers, strict=True)}

    async def _read_states(self, known: Mapping[str, _Known]) -> dict[str, Job | JobDamaged | None]:
        """The jobs of these requests; None for one that is gone."""
        _, *states = await self._store.run(script.RUNNING, " ".join(codec.STATE_FIELDS), *known)
        jobs = {
            job_id: _job(job_id, each, state, running)
            for (job_id, each), (running, state) in zip(known.items(), states, strict=True)
        }
        return await self._explain_waiting(jobs)

    async def _explain_waiting(
        self, jobs: dict[str, Job | JobDamaged | None]
    ) -> dict[str, Job | JobDamaged | None]:
        waiting = {job_id: job for job_id, job in jobs.items() if isinstance(job, Job) and _waits(job)}
        if not waiting:
            return jobs
        lines = await self._store.run(script.DRAWABLE)
        drawable = {digest for line in lines for digest in line.decode().split()}
        return jobs | {
            job_id: replace(job, reason=NO_WORKER)
            for job_id, job in waiting.items()
            if job.request.digest not in drawable
        }


def asking(asker: Asker) -> tuple[str, str]:
    """The arguments with which a script is told who asks."""
    return asker.name, "1" if asker.sees_all else "0"


def required(job_id: str, found: Job | JobDamaged | None) -> Job:
    """The job; raises JobNotFound or JobDamaged if there is none that can be read."""
    if found is None:
        raise not_found(job_id)
    if isinstance(found, JobDamaged):
        raise found
    return found


def not_found(job_id: str) -> JobNotFound:
    """The same for a job that does not exist and for one of somebody else."""
    return JobNotFound(f"There is no job {job_id}, or its results have expired.")


def damaged(job_id: str) -> JobDamaged:
    """The error for a job whose record cannot be read."""
    return JobDamaged(f"The record of job {job_id} in Redis is damaged: delete the job, and submit it again.")


def _known(job_id: str, answer: bytes, *fields: Any) -> _Known | JobDamaged | None:
    if answer == b"MISSING":
        return None
    if answer == b"DAMAGED":
        return damaged(job_id)
    request, kept_bytes, client = fields
    try:
        return _Known(codec.decode_unkept(request, kept_bytes), codec.decode_client(client))
    except codec.Undecodable:
        return damaged(job_id)


def _job(job_id: str, known: _Known, state: Sequence[bytes | None], running: int) -> Job | JobDamaged | None:
    if not any(state):
        return None
    try:
        return codec.decode_job(job_id, known.request, state, client=known.client, running=running)
    except codec.Undecodable:
        return damaged(job_id)


def _waits(job: Job) -> bool:
    """Whether some of its samples are left to draw, and none is being drawn."""
    return job.state in (JobState.QUEUED, JobState.RUNNING) and not job.running
