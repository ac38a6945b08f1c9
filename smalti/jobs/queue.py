"""Keeps jobs, their samples and their rows in Redis."""

import re
import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from time import monotonic
from typing import Any, TypeAlias

from redis.asyncio import Redis

from smalti.errors import InvalidRequest, JobNotFinished, JobNotFound, QueueFull, RedisUnfit, RequestConflict
from smalti.jobs import codec, script
from smalti.jobs.connection import (
    NOT_OURS,
    MemoryFull,
    Refused,
    is_of_wrong_kind,
    refuse_if_unfit,
    unavailable_when_away,
)
from smalti.jobs.job import (
    Claim,
    CommitReply,
    Job,
    JobRequest,
    JobState,
    Progress,
    QueueDepth,
    SampleResult,
    SampleRows,
)
from smalti.jobs.keys import CHUNK, Keys, request_key
from smalti.jobs.script import Script

_SCHEMA = "4"
_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # none that is taken for another
_ID = re.compile(r"[a-z0-9]{1,32}")
_READ_BYTES = 1_000_000  # of results in one answer of Redis
_BLOCK_SECONDS = 1.0  # less than the connection's timeout
_RECOVERED_AT_ONCE = 256  # samples in one script call, so that it stays short
_EXPIRED_AT_ONCE = 4  # jobs, each with up to a thousand keys
NO_WORKER = "NO_WORKER_FOR_MODEL"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much the queue of one pool takes before it says that it is full."""

    jobs: int = 10_000  # that have not ended
    pixels: int = 2_000_000_000  # still to be drawn, in all jobs
    samples_per_job: int = 1_000_000


DEFAULT_LIMITS = QueueLimits()

# JobQueue.list hides the builtin in the class's annotations.
Jobs: TypeAlias = list[Job]
Claims: TypeAlias = list[Claim]
CommitReplies: TypeAlias = list[CommitReply]
RowsInProgress: TypeAlias = list[SampleRows]
EndedSamples: TypeAlias = list[tuple[int, bool]]


class JobQueue:
    """The queue of one pool; several on one Redis do not see each other.

    Every method raises Unavailable when Redis is away, or unfit as `check` found it. `redis` comes from
    `smalti.jobs.connection.connect`.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        pool: str = "default",
        lease_seconds: float = 10.0,
        limits: QueueLimits = DEFAULT_LIMITS,
        allow_volatile: bool = False,
    ) -> None:
        self._redis: Any = redis  # its types cannot say that this client answers in bytes
        self._keys = Keys(pool)
        self._lease = ceil(lease_seconds * 1000)
        self._limits = limits
        self._allow_volatile = allow_volatile
        self._unfit = ""  # why this Redis must not be used, as `check` found it last
        self._rung: dict[str, bytes | str] = {}  # the last entry read of each bell

    @property
    def recover_seconds(self) -> float:
        """How often somebody must call `recover`: four times a lease, at least once a second.

        A longer silence (half a lease) is taken for an outage, after which every worker that was heard since the last
        one first gets a fresh lease.
        """
        return min(1.0, self._lease / 4000)

    async def check(self) -> None:
        """Raise RedisUnfit if this Redis is too old, refuses us, could lose jobs, has a queue of another layout, or
        something else in the place of the queue's keys.

        From then on every method raises Unavailable with that reason, until `check` finds it mended. Call it now and
        then: the configuration of a running Redis may be changed.
        """
        try:
            with unavailable_when_away():
                refuse_if_unfit(await self._redis.info(), allow_volatile=self._allow_volatile)
                await self._refuse_others_keys()
                await self._refuse_another_layout()
        except (Refused, RedisUnfit) as error:
            self._unfit = str(error)
            raise RedisUnfit(self._unfit) from error
        self._unfit = ""

    async def _refuse_others_keys(self) -> None:
        """Name a key of the pool's own that somebody else has written; those of single jobs are too many to look at."""
        kinds = self._keys.kinds
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in kinds:
                pipe.type(name)
            found = await pipe.execute()
        for (name, kind), reply in zip(kinds.items(), found, strict=True):
            if reply not in (b"none", kind):
                raise RedisUnfit(f"The key '{name}' in this Redis {NOT_OURS}")

    async def _refuse_another_layout(self) -> None:
        """Read first: a Redis that takes no writes, because it is full, can still be asked what it has."""
        schema = await self._redis.hget(self._keys.meta, "schema")
        if schema is None:
            schema = await script.LAYOUT(self._redis, [self._keys.meta], [_SCHEMA])
        if schema != _SCHEMA.encode():
            raise RedisUnfit(
                f"The queue in this Redis has layout {schema!r}, this smalti needs {_SCHEMA}: "
                "let the old workers finish it, or set SMALTI_POOL to another name."
            )

    async def ping(self) -> None:
        """Raise Unavailable if Redis is away."""
        with self._available():
            await self._redis.ping()

    @contextmanager
    def _available(self, key: str = "") -> Iterator[None]:
        if self._unfit:
            raise Refused(self._unfit)
        with unavailable_when_away(key):
            yield

    # What clients of the queue do.

    async def submit(self, request: JobRequest, *, request_id: str = "", client: str = "") -> Job:
        """Queue a job; the same request_id of the same client again gives the same job.

        Raises RequestConflict where that was for another request, QueueFull where there is no room now, InvalidRequest
        where the job is larger than the queue ever takes.
        """
        self._refuse_too_large(request)
        job_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
        try:
            with self._available():
                answer, value = await script.SUBMIT(
                    self._redis,
                    [self._keys.meta, self._keys.job(job_id)],
                    self._submission(job_id, request, request_key(client, request_id)),
                )
        except MemoryFull as error:
            raise QueueFull(
                "The queue's Redis has no memory for more jobs.", retry_seconds=error.retry_seconds
            ) from error
        if answer == b"FULL":
            raise QueueFull("The queue is full.", retry_seconds=int(value) / 1000)
        if answer == b"CONFLICT":
            raise RequestConflict(
                f"The request_id '{request_id}' was used for another request: job {value.decode()}."
            )
        return await self.get(value.decode())

    async def get(self, job_id: str) -> Job:
        """The job as it is now; its reason is NO_WORKER_FOR_MODEL while it waits for a worker that has its model."""
        [job] = await self._read_jobs([_checked(job_id)])
        if job is None:
            raise JobNotFound(f"There is no job {job_id}, or its results have expired.")
        return job

    async def list(self, *, limit: int, page_token: str = "") -> tuple[Jobs, str]:
        """Up to `limit` (at least 1) jobs, newest first, and the token of the next page, empty on the last."""
        if page_token and not re.fullmatch(r"[0-9]{1,18}", page_token):
            raise InvalidRequest("The page token is none that this server gave.", field="page_token")
        with self._available(self._keys.jobs):
            page = await self._redis.zrange(
                self._keys.jobs,
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
        """Stop a job: CANCELLED at once, or CANCELLING until its workers have dropped its samples."""
        if not await self._run(script.CANCEL, _checked(job_id)):
            raise JobNotFound(f"There is no job {job_id}, or its results have expired.")
        return await self.get(job_id)

    async def delete(self, job_id: str) -> None:
        """Forget a job that has ended, and its results; raises JobNotFinished where it has not."""
        answer = await self._run(script.DELETE, _checked(job_id), secrets.token_hex(8))
        if answer == b"MISSING":
            raise JobNotFound(f"There is no job {job_id}, or its results have expired.")
        if answer == b"RUNNING":
            raise JobNotFinished(f"Job {job_id} has not ended: cancel it first.")

    # What workers do.

    async def claim(
        self,
        worker: str,
        *,
        sequence: int,
        digests: Sequence[str],
        fingerprint: str,
        limit: int,
        interactive: int | None = None,
        slots: int | None = None,
    ) -> Claims:
        """Take up to `limit` samples of jobs whose model is in `digests`, and a lease.

        Interactive samples come first, up to `interactive` of them even where `limit` is less (default: `limit`).
        Then come standard ones, and interactive ones again where those leave room. Of a worker that holds more than
        its `slots`, no more are said to be running.

        The same sequence number again gives the same samples: count up only after a reply. A worker name is of one
        process, never used again. Neither fingerprint nor digests contain white space or '+'.
        """
        if re.search(r"[\s+]", fingerprint):
            raise ValueError(f"a fingerprint is one word without '+', not {fingerprint!r}")
        first = limit if interactive is None else interactive
        reply = await self._run(
            script.CLAIM, worker, self._lease, sequence, fingerprint, limit, first, slots or "", *digests
        )
        return codec.decode_claims(reply)

    async def commit(self, worker: str, progress: Sequence[Progress]) -> CommitReplies:
        """Store what was drawn since the last commit, and renew the lease.

        A Progress without pixels asks whether its sample goes on: send one for each held sample, so that cancelled
        ones are dropped. No sample comes twice in a call.
        """
        samples = codec.encode_progress(progress)
        return codec.decode_commit(await self._run(script.COMMIT, worker, self._lease, *samples))

    async def renew(self, worker: str) -> bool:
        """Keep the worker's samples for another lease; False where the lease has run out and they are gone."""
        return bool(await self._run(script.RENEW, worker, self._lease))

    async def leave(self, worker: str) -> None:
        """Forget a worker that stops; what it still holds is given back, and no attempt is charged."""
        await self._run(script.LEAVE, worker)

    async def wait_for_work(self, seconds: float) -> None:
        """Return when there may be something to claim, or after `seconds`."""
        await self._wait_for_bell(self._keys.bell, seconds)

    async def wait_for_interactive(self, seconds: float) -> None:
        """Return when there may be an interactive sample to claim, or after `seconds`."""
        await self._wait_for_bell(self._keys.interactive, seconds)

    # What watchers read.

    async def results(
        self, job_id: str, *, start: int = 0, limit: int = 0
    ) -> AsyncGenerator[SampleResult, None]:
        """Ended samples with indices from `start`, in order; `limit` is the number of indices, 0 means all."""
        request = (await self.get(job_id)).request
        end = min(request.count, start + limit) if limit else request.count
        page = max(1, min(CHUNK, _READ_BYTES // (request.row_bytes * request.rows)))
        while start < end:
            stop = min(end, start + page, (start // CHUNK + 1) * CHUNK)
            for result in await self._read_results(job_id, range(start, stop)):
                yield result
            start = stop

    async def rows(self, job_id: str, known: Mapping[int, int], *, limit: int = 256) -> RowsInProgress:
        """Rows of samples in progress beyond the `known` number of rows of an index.

        Of the `limit` lowest indices: nobody looks at thousands at once, and memory stays bounded.
        """
        request = (await self.get(job_id)).request
        indices = (await self._in_progress(job_id))[:limit]
        with self._available():
            async with self._redis.pipeline(transaction=False) as pipe:
                for index in indices:
                    first_byte = known.get(index, 0) * request.row_bytes
                    pipe.getrange(self._keys.pixels(job_id, index), first_byte, -1)
                found = await pipe.execute()
        return [
            SampleRows(index=index, first_row=known.get(index, 0), pixels=pixels)
            for index, pixels in zip(indices, found, strict=True)
            if pixels
        ]

    async def ended(self, job_id: str, *, cursor: int = 0, limit: int = 10_000) -> tuple[EndedSamples, int]:
        """(index, succeeded) of samples in the order in which they ended, from `cursor`; and the next cursor.

        A job that is unknown or has expired has none.
        """
        ends = self._keys.ended(_checked(job_id))
        with self._available(ends):
            entries = await self._redis.getrange(ends, 4 * cursor, 4 * (cursor + limit) - 1)
        samples = codec.decode_ended(entries)
        return samples, cursor + len(samples)

    async def events(self) -> AsyncGenerator[set[str], None]:
        """Ids of jobs on which something happened, again and again; from the first item on, which is empty.

        Further empty ones come while nothing happens, about one a second. Hints that may be lost, so read the job
        itself now and then. Raises Unavailable when Redis goes away. One reader serves a whole process.
        """
        with self._available(self._keys.events):
            newest = await self._redis.xrevrange(self._keys.events, count=1)
        last: bytes | str = newest[0][0] if newest else "0-0"
        yield set()
        while True:
            entries = await self._read_stream(self._keys.events, last, _BLOCK_SECONDS)
            yield {fields[b"job"].decode() for _, fields in entries}
            last = entries[-1][0] if entries else last

    async def depth(self) -> QueueDepth:
        """How much is in the queue now; costs the same however much that is."""
        live, queued, ready, _, workers, oldest = await self._run(script.DEPTH)
        (running,) = await self._run(script.RUNNING)
        return QueueDepth(
            queued_jobs=queued,
            running_jobs=live - queued,
            ready_samples=ready,
            running_samples=running,
            workers=workers,
            oldest_seconds=oldest / 1000,
        )

    # Upkeep, by every worker and server.

    async def recover(self) -> int:
        """Take samples back from workers whose lease has run out; returns how many. Call it every `recover_seconds`."""
        recovered, more = 0, True
        while more:
            taken, more = await self._run(script.RECOVER, self._lease, _RECOVERED_AT_ONCE)
            recovered += taken
        return recovered

    async def expire(self) -> int:
        """Forget jobs whose retention has passed; returns how many."""
        expired = 0
        while forgotten := await self._run(script.EXPIRE, _EXPIRED_AT_ONCE):
            expired += forgotten
        return expired

    async def _run(
        self, transition: Script, *arguments: str | bytes | int
    ) -> Any:  # each script has its own reply
        with self._available():
            return await transition(self._redis, [self._keys.meta], arguments)

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

    def _submission(self, job_id: str, request: JobRequest, key: str) -> Sequence[str | bytes | int]:
        return [
            job_id,
            key,
            codec.hash_request(request),
            self._limits.jobs,
            self._limits.pixels,
            codec.encode_request(request),
            request.forced,
            request.digest,
            request.count,
            request.rows,
            request.row_bytes,
            request.rows * request.columns,
            ceil(request.retention_seconds * 1000),
            request.job_class,
        ]

    async def _read_jobs(self, job_ids: Sequence[str]) -> Sequence[Job | None]:
        if not job_ids:
            return []
        with self._available():
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_id in job_ids:
                    pipe.hmget(self._keys.job(job_id), codec.REQUEST_FIELDS)
                replies = await pipe.execute(raise_on_error=False)
            found = [_fields_of_job(reply) for reply in replies]
        requests = {job_id: fields for job_id, fields in zip(job_ids, found, strict=True) if fields}
        _, *states = await self._run(script.RUNNING, " ".join(codec.STATE_FIELDS), *requests)
        there = {
            job_id: _read_job(job_id, request, state, running)
            for (job_id, request), (running, state) in zip(requests.items(), states, strict=True)
        }
        return await self._explain_waiting([there.get(job_id) for job_id in job_ids])

    async def _explain_waiting(self, jobs: Sequence[Job | None]) -> Sequence[Job | None]:
        if not any(job and _waits(job) for job in jobs):
            return jobs
        drawable = {digest for line in await self._run(script.DRAWABLE) for digest in line.decode().split()}
        return [
            replace(job, reason=NO_WORKER)
            if job and _waits(job) and job.request.digest not in drawable
            else job
            for job in jobs
        ]

    async def _in_progress(self, job_id: str) -> Sequence[int]:
        with self._available():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.smembers(self._keys.running(job_id))
                pipe.zrange(self._keys.returned(job_id), 1, "+inf", byscore=True, offset=0, num=CHUNK)
                pipe.zrange(self._keys.suspects(job_id), 0, CHUNK - 1)
                found = await pipe.execute()
        return sorted({int(index) for indices in found for index in indices})

    async def _read_results(self, job_id: str, indices: range) -> Sequence[SampleResult]:
        chunk = self._keys.result(job_id, indices.start)
        with self._available(chunk):
            values = await self._redis.hmget(chunk, [str(i) for i in indices])
        return [codec.decode_result(i, value) for i, value in zip(indices, values, strict=True) if value]

    async def _wait_for_bell(self, bell: str, seconds: float) -> None:
        deadline = monotonic() + seconds
        while (left := deadline - monotonic()) > 0:
            entries = await self._read_stream(bell, self._rung.get(bell, "0-0"), left)
            if entries:
                self._rung[bell] = entries[-1][0]
                return

    async def _read_stream(
        self, stream: str, after: bytes | str, seconds: float
    ) -> Sequence[tuple[bytes, Mapping[bytes, bytes]]]:
        """Entries after one, waiting at most `seconds`, and never so long that the connection times out."""
        block = max(1, ceil(min(seconds, _BLOCK_SECONDS) * 1000))
        with self._available(stream):
            found = await self._redis.xread({stream: after}, count=1000, block=block)
        entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]] = found[0][1] if found else []
        return entries


def _fields_of_job(reply: Any) -> Any:
    """What was read of a job; None where there is none, or what lies in its place is not smalti's."""
    if isinstance(reply, Exception):
        if is_of_wrong_kind(reply):
            return None
        raise reply
    return None if reply[0] is None else reply


def _read_job(
    job_id: str, request: Sequence[bytes | None], state: Sequence[bytes | None], running: int
) -> Job | None:
    """A job from its fields; None where it was forgotten between the two readings."""
    if state[0] is None:
        return None
    fields = zip((*codec.REQUEST_FIELDS, *codec.STATE_FIELDS), (*request, *state), strict=True)
    return codec.decode_job(job_id, dict(fields), running=running)


def _waits(job: Job) -> bool:
    """Whether none of its samples is being drawn, though some are left."""
    return job.state in (JobState.QUEUED, JobState.RUNNING) and not job.running


def _checked(job_id: str) -> str:
    """The id, if it can be one; ids come from users and become part of a key."""
    if not _ID.fullmatch(job_id):
        raise JobNotFound(f"There is no job {job_id!r}.")
    return job_id
