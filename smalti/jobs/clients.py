"""The queue for those who submit jobs and ask about them."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from smalti.errors import InvalidRequest, JobNotFinished, JobNotFound, QueueFull, RequestConflict
from smalti.jobs import codec, script
from smalti.jobs.connection import MemoryFull, is_of_wrong_kind
from smalti.jobs.job import Job, JobRequest, JobState
from smalti.jobs.keys import request_key
from smalti.jobs.store import QueueStore
from smalti.printable import printable

_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # without letters and digits that look alike
_ID = re.compile(r"[a-z0-9]{1,32}")
NO_WORKER = "NO_WORKER_FOR_MODEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much the queue of one pool holds before it is full."""

    jobs: int = 10_000  # jobs that have not ended
    pixels: int = 2_000_000_000  # pixels not drawn yet, in all jobs
    samples_per_job: int = 1_000_000


DEFAULT_LIMITS = QueueLimits()


class ClientQueue:
    """Submits, reads, lists, cancels and deletes jobs."""

    def __init__(self, store: QueueStore, *, limits: QueueLimits = DEFAULT_LIMITS) -> None:
        self._store = store
        self._limits = limits

    async def submit(self, request: JobRequest, *, request_id: str = "", client: str = "") -> Job:
        """Queue a job. The same request_id of the same client again gives the same job.

        Raises RequestConflict if that request_id was used for another request, QueueFull if there is no room now, and
        InvalidRequest if the job is larger than the queue ever takes.
        """
        self._refuse_too_large(request)
        job_id = await self._submit(request, request_id, client)
        return await self._refresh(job_id, request)  # also for an older job: its request is equal

    async def get(self, job_id: str) -> Job:
        """The job as it is now; its reason is NO_WORKER_FOR_MODEL while it waits for a worker that has its model.

        Its request comes without the kept pixels: they may be large, and only workers need them.
        """
        [job] = await self._read_jobs([_checked(job_id)])
        if job is None:
            raise _not_found(job_id)
        return job

    async def refresh(self, job: Job) -> Job:
        """The same job as it is now. Cheaper than `get`: its request never changes, so it is not read again."""
        return await self._refresh(job.id, job.request)

    async def list(self, *, limit: int, page_token: str = "") -> tuple[Sequence[Job], str]:
        """Up to `limit` (at least 1) jobs, newest first, and the token of the next page, empty on the last.

        Their requests come without the kept pixels, as from `get`.
        """
        if page_token and not re.fullmatch(r"[0-9]{1,18}", page_token):
            raise InvalidRequest("This page token is not from this server.", field="page_token")
        jobs_key = self._store.keys.jobs
        with self._store.available(jobs_key):
            page = await self._store.redis.zrange(
                jobs_key,
                f"({page_token}" if page_token else "+inf",
                "-inf",
                desc=True,
                byscore=True,
                offset=0,
                num=limit + 1,
                withscores=True,
            )
        jobs = await self._read_jobs([job_id.decode() for job_id, _ in page[:limit]])
        token = str(int(page[limit - 1][1])) if len(page) > limit else ""
        return [job for job in jobs if job is not None], token

    async def cancel(self, job_id: str) -> Job:
        """Stop a job. It is CANCELLED at once, or CANCELLING until its workers have dropped its samples."""
        if not await self._store.run(script.CANCEL, _checked(job_id)):
            raise _not_found(job_id)
        return await self.get(job_id)

    async def delete(self, job_id: str) -> None:
        """Forget a job that has ended, and its results; raises JobNotFinished if it has not ended."""
        answer = await self._store.run(script.DELETE, _checked(job_id), secrets.token_hex(8))
        if answer == b"MISSING":
            raise _not_found(job_id)
        if answer == b"RUNNING":
            raise JobNotFinished(f"Job {job_id} has not ended: cancel it first.")

    def _refuse_too_large(self, request: JobRequest) -> None:
        pixels = request.count * request.rows * request.columns
        if not 1 <= request.count <= self._limits.samples_per_job:
            raise InvalidRequest(
                f"A job has 1 to {self._limits.samples_per_job} samples, not {request.count}.", field="count"
            )
        if pixels > self._limits.pixels:
            raise InvalidRequest(
                f"A job of {pixels} pixels is more than the whole queue takes ({self._limits.pixels}).",
                field="count",
            )

    async def _submit(self, request: JobRequest, request_id: str, client: str) -> str:
        job_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
        submission = self._submission(job_id, request, request_key(client, request_id))
        try:
            answer, value = await self._store.run(
                script.SUBMIT, *submission, keys=[self._store.keys.job(job_id)]
            )
        except MemoryFull as error:
            raise QueueFull(
                "The queue's Redis has no memory for more jobs.", retry_seconds=error.retry_seconds
            ) from error
        if answer == b"FULL":
            raise QueueFull("The queue is full.", retry_seconds=int(value) / 1000)
        if answer == b"CONFLICT":
            raise RequestConflict(
                f"The request_id '{printable(request_id)}' was used for another request: job {value.decode()}."
            )
        return str(value.decode())

    def _submission(self, job_id: str, request: JobRequest, key: str) -> Sequence[str | bytes | int]:
        return [
            job_id,
            key,
            codec.hash_request(request),
            self._limits.jobs,
            self._limits.pixels,
            codec.encode_request(request),
            request.kept,
            request.digest,
            request.count,
            request.rows,
            request.row_bytes,
            request.rows * request.columns,
            ceil(request.retention_seconds * 1000),
            request.job_class,
        ]

    async def _refresh(self, job_id: str, request: JobRequest) -> Job:
        [job] = await self._read_states({job_id: request})
        if job is None:
            raise _not_found(job_id)
        return job

    async def _read_jobs(self, job_ids: Sequence[str]) -> Sequence[Job | None]:
        if not job_ids:
            return []
        requests = await self._read_requests(job_ids)
        jobs = dict(zip(requests, await self._read_states(requests), strict=True))
        return [jobs.get(job_id) for job_id in job_ids]

    async def _read_requests(self, job_ids: Sequence[str]) -> Mapping[str, JobRequest]:
        with self._store.available():
            async with self._store.redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hget(self._store.keys.job(job_id), "request")
                replies = await pipe.execute(raise_on_error=False)
            found = [_request_of_job(reply) for reply in replies]
        return {
            job_id: codec.decode_request(encoded, kept=b"")
            for job_id, encoded in zip(job_ids, found, strict=True)
            if encoded
        }

    async def _read_states(self, requests: Mapping[str, JobRequest]) -> Sequence[Job | None]:
        """The jobs of these requests; None for one that is gone."""
        _, *states = await self._store.run(script.RUNNING, " ".join(codec.STATE_FIELDS), *requests)
        jobs = [
            codec.decode_job(job_id, request, state, running=running) if state[0] else None
            for (job_id, request), (running, state) in zip(requests.items(), states, strict=True)
        ]
        return await self._explain_waiting(jobs)

    async def _explain_waiting(self, jobs: Sequence[Job | None]) -> Sequence[Job | None]:
        if not any(job and _waits(job) for job in jobs):
            return jobs
        lines = await self._store.run(script.DRAWABLE)
        drawable = {digest for line in lines for digest in line.decode().split()}
        return [
            replace(job, reason=NO_WORKER)
            if job and _waits(job) and job.request.digest not in drawable
            else job
            for job in jobs
        ]


def _request_of_job(reply: Any) -> Any:
    """The request that was read; None if there is no job, or the key is not smalti's."""
    if isinstance(reply, Exception):
        if is_of_wrong_kind(reply):
            return None
        raise reply
    return reply


def _waits(job: Job) -> bool:
    """Whether some of its samples are left to draw, and none is being drawn."""
    return job.state in (JobState.QUEUED, JobState.RUNNING) and not job.running


def _checked(job_id: str) -> str:
    """The id, if it can be one: ids come from users and become part of a key."""
    if not _ID.fullmatch(job_id):
        raise JobNotFound(f"There is no job '{printable(job_id)}'.")
    return job_id


def _not_found(job_id: str) -> JobNotFound:
    return JobNotFound(f"There is no job {job_id}, or its results have expired.")
