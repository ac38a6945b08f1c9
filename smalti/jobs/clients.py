"""The queue for those who submit jobs and ask about them. Each client sees its own jobs only."""

import asyncio
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil

from smalti.errors import (
    Busy,
    InvalidRequest,
    JobNotFinished,
    JobNotFound,
    JobOver,
    NotPermitted,
    QueueFull,
    RequestConflict,
    Unavailable,
)
from smalti.jobs import codec, script
from smalti.jobs.connection import MemoryFull
from smalti.jobs.job import Job, JobRequest, Origin
from smalti.jobs.keeping import forget_kept, write_kept
from smalti.jobs.kept import hash_of
from smalti.jobs.keys import request_key
from smalti.jobs.limits import (
    DEFAULT_LIMITS,
    RECORD_BYTES,
    RESULT_BYTES,
    Asker,
    ClientLimits,
    QueueLimits,
    kept_bytes_of,
    limits_of,
    refusal,
)
from smalti.jobs.listing import ALL, Listing, Wanted
from smalti.jobs.paging import OVER, Entry, PartPage, newest, split_token
from smalti.jobs.reading import JobRecords, asking, damaged, not_found, required
from smalti.jobs.script import Script
from smalti.jobs.shards import Shards, Usage, as_shards
from smalti.jobs.store import QueueStore
from smalti.printable import printable

_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # without letters and digits that look alike
_UNKNOWN_ORIGIN = Origin()
_ID = re.compile(r"[a-z0-9]{1,32}")


class ClientQueue:
    """The queue of one pool, for all its clients."""

    def __init__(self, store: QueueStore | Shards, *, limits: QueueLimits = DEFAULT_LIMITS) -> None:
        self._shards = as_shards(store)
        self._limits = limits

    def of(self, asker: Asker) -> "ClientJobs":
        """The queue as this client sees it."""
        return ClientJobs(self._shards, asker, self._limits)


class ClientJobs:
    """Submits, reads, lists, pauses, cancels and deletes the jobs of one client; those of all clients, if it sees all.

    A job that the client does not see raises JobNotFound, as if it did not exist. One whose record in Redis is damaged
    raises JobDamaged; it can only be deleted.
    """

    def __init__(self, shards: Shards, asker: Asker, limits: QueueLimits) -> None:
        self._shards = shards
        self._asker = asker
        self._limits = limits
        self._own_limits = limits_of(asker, limits)

    async def submit(
        self,
        request: JobRequest,
        *,
        request_id: str = "",
        origin: Origin = _UNKNOWN_ORIGIN,
        kept: Sequence[bytes] = (),
    ) -> Job:
        """Queue a job. The same request_id of the same client again gives the same job, with its first origin.

        With `kept` each sample has its own kept pixels, as `kept.packed` gives them: the job is queued with all of them
        or not at all. Raises RequestConflict if that request_id was used for another request, LimitReached or QueueFull
        if the client or the queue has no room now, and InvalidRequest if the job is larger than either ever has room
        for.
        """
        if kept:
            request = replace(request, kept_hash=hash_of(kept))
        size = _Size.of(request, kept_bytes=kept_bytes_of(kept))
        self._refuse_too_large(size)
        job_id = await self._submit_with(kept, request, size, request_id, origin)
        records = self._records(job_id)
        return await records.refresh(job_id, request, self._asker.name)  # an older job has an equal request

    async def require_room(self, request: JobRequest, *, kept_bytes: int, request_id: str = "") -> None:
        """Raise what `submit` would raise if there is no room for such a job now, or never will be.

        For a job whose kept pixels are still to come. It keeps no room: `submit` looks again.
        """
        size = _Size.of(request, kept_bytes=kept_bytes)
        self._refuse_too_large(size)
        await self._ask_to_queue(
            self._new_id(request_id), request, size, request_id, _UNKNOWN_ORIGIN, only_ask=True
        )

    async def get(self, job_id: str) -> Job:
        """The job as it is now; its reason is NO_WORKER_FOR_MODEL while it waits for a worker that has its model.

        Its request comes without the kept pixels: they may be large, and only workers need them.
        """
        [job] = await self._records(_checked(job_id)).read(self._asker, [job_id])
        return required(job_id, job)

    async def refresh(self, job: Job) -> Job:
        """The same job as it is now. Cheaper than `get`: its request never changes, so it is not read again."""
        return await self._records(job.id).refresh(job.id, job.request, job.client)

    async def list(
        self, *, limit: int, page_token: str = "", client: str | None = None, only: Wanted = ALL
    ) -> tuple[Sequence[Job], str]:
        """Up to `limit` (at least 1) jobs, newest first, and the token of the next page, empty on the last.

        With `client` only that client's jobs; with `only` those that fit it, and then a page may be short, even empty,
        although others follow. Damaged jobs are left out. Requests have no kept pixels, as from `get`.
        Raises NotPermitted for the jobs of another client, whether there is one of that name or not.
        """
        tokens = split_token(page_token, len(self._shards.all))
        self._refuse_to_list(client)
        pages = await asyncio.gather(
            *(self._page(part, token, client, only, limit) for part, token in enumerate(tokens))
        )
        jobs, token = newest(pages, limit)
        return [job for job in jobs if isinstance(job, Job) and only.fits(job.state, job.request)], token

    async def cancel(self, job_id: str) -> Job:
        """Stop a job. It is CANCELLED at once, or CANCELLING until its workers have dropped its samples."""
        return await self._change(script.CANCEL, job_id)

    async def pause(self, job_id: str) -> Job:
        """Let no worker draw the job until it is resumed; nothing of it is lost. Raises JobOver if it has ended.

        Its running samples are given back by their workers after the row that is being drawn.
        """
        return await self._change(script.PAUSE, job_id)

    async def resume(self, job_id: str) -> Job:
        """Let workers draw a paused job again; raises JobOver if it has ended."""
        return await self._change(script.RESUME, job_id)

    async def _change(self, change: Script, job_id: str) -> Job:
        """Run a script that changes a job's state; returns the job as it is then."""
        answer = await self._shards.of(_checked(job_id)).run(change, job_id, *asking(self._asker))
        if answer == b"MISSING":
            raise not_found(job_id)
        if answer == b"DAMAGED":
            raise damaged(job_id)
        job = await self.get(job_id)
        if answer == b"OVER":
            raise JobOver(f"Job {job_id} is {job.state}: it can be neither paused nor resumed.")
        return job

    async def delete(self, job_id: str) -> None:
        """Forget a job that has ended, and its results; raises JobNotFinished if it has not ended."""
        call = secrets.token_hex(8)
        answer = await self._shards.of(_checked(job_id)).run(
            script.DELETE, job_id, call, *asking(self._asker)
        )
        if answer == b"MISSING":
            raise not_found(job_id)
        if answer == b"RUNNING":
            raise JobNotFinished(f"Job {job_id} has not ended: cancel it first.")

    def _records(self, job_id: str) -> JobRecords:
        return JobRecords(self._shards.of(job_id))

    async def _page(self, part: int, token: str, client: str | None, only: Wanted, limit: int) -> PartPage:
        """The next jobs of one part of the pool."""
        store = self._shards.all[part]
        if token == OVER:
            return PartPage(token, [], token)
        listed, after = await Listing(store).page(
            self._listed(store, client), only, limit=limit, page_token=token
        )
        jobs = await JobRecords(store).read(self._asker, [job_id for job_id, _ in listed])
        entries = [Entry(part, follows, job) for (_, follows), job in zip(listed, jobs, strict=True)]
        return PartPage(token, entries, after)

    def _listed(self, store: QueueStore, client: str | None) -> str:
        """The key of the jobs to list. Who does not see all lists nothing but its own."""
        if self._asker.sees_all and client is None:
            return store.keys.jobs
        return store.keys.jobs_of(self._asker.name if client is None else client)

    def _refuse_to_list(self, client: str | None) -> None:
        if not self._asker.sees_all and client not in (None, self._asker.name):
            raise NotPermitted(
                "Only admins see the jobs of other clients: list your own without a client's name."
            )

    def _refuse_too_large(self, size: "_Size") -> None:
        if not 1 <= size.samples <= self._limits.samples_per_job:
            raise InvalidRequest(
                f"A job has 1 to {self._limits.samples_per_job} samples, not {size.samples}.", field="count"
            )
        for limits, whose in ((self._limits, "the whole queue takes"), (self._own_limits, "you may have")):
            size.refuse_above(limits, whose)

    def _new_id(self, request_id: str) -> str:
        """An id in the part of the pool where this request_id belongs."""
        store = self._shards.for_new_job(request_key(self._asker.name, request_id))
        return self._shards.new_id(store, _random_id)

    async def _submit_with(
        self, kept: Sequence[bytes], request: JobRequest, size: "_Size", request_id: str, origin: Origin
    ) -> str:
        """Queue a job whose samples keep these pixels; returns its id, or that of the job that is there already."""
        job_id, known = self._new_id(request_id), ""
        store = self._shards.of(job_id)
        try:
            with _full_when_out_of_memory():
                await write_kept(store, job_id, kept)
            known = await self._submit(job_id, request, size, request_id, origin)
        except (Busy, RequestConflict):  # after any other error it may be queued
            await forget_kept(store, job_id, len(kept))
            raise
        if known != job_id:
            await forget_kept(store, job_id, len(kept))
        return known

    async def _submit(
        self, job_id: str, request: JobRequest, size: "_Size", request_id: str, origin: Origin
    ) -> str:
        answer, known = await self._ask_to_queue(job_id, request, size, request_id, origin)
        if answer == b"CONFLICT":
            raise RequestConflict(
                f"The request_id '{printable(request_id)}' was used for another request: job {known}."
            )
        if answer == b"LOST":
            raise Unavailable("Redis was away for so long that it has lost the pictures: send them again.")
        return known

    async def _ask_to_queue(
        self,
        job_id: str,
        request: JobRequest,
        size: "_Size",
        request_id: str,
        origin: Origin,
        *,
        only_ask: bool = False,
    ) -> tuple[bytes, str]:
        """submit.lua's word and the job that it is about; raises LimitReached or QueueFull."""
        key = request_key(self._asker.name, request_id)
        store = self._shards.of(job_id)
        elsewhere = await self._shards.used_elsewhere(store, self._asker.name)
        submission = self._submission(job_id, request, size, key, origin, elsewhere)
        with _full_when_out_of_memory():
            answer, *values = await store.run(
                script.SUBMIT, *submission, int(only_ask), keys=[store.keys.job(job_id)]
            )
        if answer == b"FULL":
            raise self._refusal(elsewhere, *(value.decode() for value in values))
        return answer, values[0].decode()

    def _refusal(
        self, elsewhere: Mapping[str, Usage], whose: str, what: str, used: str, retry_ms: str
    ) -> Exception:
        return refusal(
            whose,
            what,
            int(used) + elsewhere[whose].of(what),
            pool=self._limits,
            client=self._own_limits,
            retry_seconds=int(retry_ms) / 1000,
        )

    def _submission(
        self,
        job_id: str,
        request: JobRequest,
        size: "_Size",
        key: str,
        origin: Origin,
        elsewhere: Mapping[str, Usage],
    ) -> Sequence[str | bytes | int]:
        pool, own = elsewhere["pool"].left_of(self._limits), elsewhere["client"].left_of(self._own_limits)
        return [
            job_id,
            key,
            codec.hash_request(request),
            self._asker.name,
            *("" if limit is None else limit for limit in (*pool, *own)),
            codec.encode_request(request),
            request.kept,
            request.digest,
            request.count,
            request.rows,
            request.row_bytes,
            request.rows * request.columns,
            size.record_bytes,
            size.result_bytes,
            ceil(request.retention_seconds * 1000),
            request.job_class,
            origin.traceparent,
            origin.rpc_id,
            ceil(request.deadline_seconds * 1000),
            size.kept_bytes,
        ]


@dataclass(frozen=True, slots=True)
class _Size:
    """How much of each limit a job takes."""

    samples: int
    pixels: int
    record_bytes: int
    result_bytes: int  # of one sample
    kept_bytes: int  # of all samples, if each has its own kept pixels

    @classmethod
    def of(cls, request: JobRequest, *, kept_bytes: int) -> "_Size":
        return cls(
            samples=request.count,
            pixels=request.count * request.rows * request.columns,
            record_bytes=RECORD_BYTES + len(codec.encode_request(request)) + len(request.kept),
            result_bytes=RESULT_BYTES + request.rows * request.row_bytes,
            kept_bytes=kept_bytes,
        )

    def refuse_above(self, limits: QueueLimits | ClientLimits, whose: str) -> None:
        """Raise InvalidRequest if the job is larger than these limits."""
        size_bytes = self.record_bytes + self.samples * self.result_bytes + self.kept_bytes
        for number, limit, unit in (
            (self.pixels, limits.pixels, "pixels"),
            (size_bytes, limits.result_bytes, "bytes of results"),
        ):
            if limit is not None and number > limit:
                raise InvalidRequest(
                    f"A job of {number} {unit} is more than {whose} ({limit}).", field="count"
                )


@contextmanager
def _full_when_out_of_memory() -> Iterator[None]:
    """Raise QueueFull if Redis has reached its memory limit."""
    try:
        yield
    except MemoryFull as error:
        raise QueueFull(
            "The queue's Redis has no memory for more jobs.", retry_seconds=error.retry_seconds
        ) from error


def _random_id() -> str:
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(12))


def _checked(job_id: str) -> str:
    """The id, if it can be one: ids come from users and become part of a key."""
    if not _ID.fullmatch(job_id):
        raise JobNotFound(f"There is no job '{printable(job_id)}'.")
    return job_id
