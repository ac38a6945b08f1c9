"""The queue for those who run it: who has what, pauses, draining a worker, failed samples and their retries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smalti.errors import InvalidRequest, WorkerNotFound
from smalti.jobs import script
from smalti.jobs.clients import ClientQueue
from smalti.jobs.job import Job, QueueDepth
from smalti.jobs.kept import Unpackable, unpacked
from smalti.jobs.limits import EVERYBODY, UNSAID, ClientLimits
from smalti.jobs.sharing import USUAL_WEIGHT, ClientWeights
from smalti.jobs.store import QueueStore
from smalti.jobs.upkeep import QueueUpkeep
from smalti.jobs.watchers import WatcherQueue
from smalti.printable import printable

MOST_DEAD = 1000  # samples in one list


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """A worker as the queue knows it."""

    name: str
    fingerprint: str
    slots: int  # 0 if it did not say
    held: int  # samples
    lease_seconds: float  # left; negative if it has run out
    models: Sequence[str]  # digests
    is_draining: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStatus:
    """What a client has in the queue; the numbers count jobs that have not ended, `bytes` all its jobs."""

    name: str
    jobs: int
    ready: int
    running: int
    pixels: int  # not drawn yet
    bytes: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatistics:
    """A pool at a moment."""

    depth: QueueDepth
    is_paused: bool
    dead: int  # samples that failed, as far as they are remembered
    workers: Sequence[WorkerStatus]
    clients: Sequence[ClientStatus]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadSample:
    """A sample that failed."""

    job: str
    index: int
    client: str
    failed: float  # seconds since 1970 by Redis' clock
    rows: int  # that were committed
    error: str


@dataclass(frozen=True, slots=True)
class _Owner:
    """The client of a job, for whom something is done."""

    name: str
    sees_all: bool = False
    limits: ClientLimits = UNSAID


class QueueAdministration:
    """Everything that only those who run the queue may do."""

    def __init__(self, store: QueueStore, clients: ClientQueue) -> None:
        self._store = store
        self._clients = clients
        self._weights = ClientWeights(store)
        self._upkeep = QueueUpkeep(store)

    async def statistics(self) -> QueueStatistics:
        """What the pool has now."""
        keys = self._store.keys
        depth = await self._upkeep.depth()
        with self._store.available():
            async with self._store.redis.pipeline(transaction=False) as pipe:
                pipe.hexists(keys.meta, "paused")
                pipe.xlen(keys.dead)
                pipe.hgetall(keys.totals)
                pipe.zrange(keys.workers, 0, -1, withscores=True)
                pipe.time()
                paused, dead, totals, leases, time = await pipe.execute()
        now = time[0] + time[1] / 1e6
        return QueueStatistics(
            depth=depth,
            is_paused=bool(paused),
            dead=dead,
            workers=await self._workers({name: ends / 1000 - now for name, ends in leases}),
            clients=_clients(totals, await self._weights.all()),
        )

    async def pause(self) -> None:
        """Hand out no more samples; those that workers hold are drawn to their ends."""
        await self._store.run(script.PAUSE_POOL, 1)

    async def resume(self) -> None:
        """Hand out samples again."""
        await self._store.run(script.PAUSE_POOL, 0)

    async def drain(self, worker: str) -> None:
        """Let a worker stop as after SIGTERM, within about a second; raises WorkerNotFound."""
        if not await self._store.run(script.DRAIN, worker):
            raise WorkerNotFound(
                f"There is no worker {printable(worker)} with a lease: 'smalti admin status' lists them."
            )

    async def audit(self) -> Mapping[str, int]:
        """Audit the queue now; returns how many repairs of each kind were made."""
        return await self._upkeep.audit(every_seconds=0)

    async def dead(self, *, job_id: str = "", limit: int = MOST_DEAD) -> Sequence[DeadSample]:
        """The samples that failed, the newest first, of one job or of all; the queue remembers some thousands."""
        dead = self._store.keys.dead
        with self._store.available(dead):
            entries = await self._store.redis.xrevrange(dead, count=None if job_id else limit)
        found = (_dead(entry, fields) for entry, fields in entries)
        return [sample for sample in found if job_id in ("", sample.job)][:limit]

    async def retry(self, job_id: str, index: int) -> Job:
        """Draw a failed sample once more, in a new job of its client with the same seed; the same job if asked again.

        The job in which it failed stays as it is. Raises JobNotFound, and InvalidRequest if the sample has not failed.
        """
        job = await self._clients.of(EVERYBODY).get(job_id)
        await self._require_failed(job, index)
        kept = await self._kept_of(job, index)
        first = job.request.first_index + index
        request = replace(job.request, kept=kept, kept_hash="", count=1, first_index=first)
        return await self._clients.of(_Owner(job.client)).submit(
            request, request_id=f"retry of {job.id}:{index}"
        )

    async def _kept_of(self, job: Job, index: int) -> bytes:
        """The kept pixels of a sample, in the form of JobRequest.kept; raises InvalidRequest if they are damaged."""
        request = job.request
        has_own = bool(request.kept_hash)
        name = self._store.keys.kept(job.id, index) if has_own else self._store.keys.job(job.id)
        with self._store.available(name):
            found = await self._store.redis.hget(name, str(index) if has_own else "kept") or b""
        try:
            pixels = request.rows * request.columns
            return unpacked(found, pixels=pixels, colours=request.colours) if has_own else bytes(found)
        except Unpackable as error:
            raise InvalidRequest(
                f"The kept pixels of sample {index} of job {job.id} are damaged: submit the job again."
            ) from error

    async def _require_failed(self, job: Job, index: int) -> None:
        results = WatcherQueue(self._store).results(job, start=index, limit=1)
        async for result in results:
            if result.index == index and result.error:
                return
        raise InvalidRequest(f"Sample {index} of job {job.id} has not failed.", field="index")

    async def _workers(self, leases: Mapping[bytes, float]) -> Sequence[WorkerStatus]:
        prefix = self._store.keys.prefix
        with self._store.available():
            async with self._store.redis.pipeline(transaction=False) as pipe:
                for name in leases:
                    pipe.hgetall(f"{prefix}worker:{name.decode()}")
                    pipe.zcard(f"{prefix}held:{name.decode()}")
                found = await pipe.execute()
        return [
            _worker(name.decode(), seconds, found[2 * place], found[2 * place + 1])
            for place, (name, seconds) in enumerate(leases.items())
        ]


def _worker(name: str, seconds: float, fields: Mapping[bytes, bytes], held: int) -> WorkerStatus:
    words = {field.decode(): value.decode(errors="replace") for field, value in fields.items()}
    return WorkerStatus(
        name=name,
        fingerprint=words.get("fingerprint", ""),
        slots=int(words.get("slots") or 0),
        held=held,
        lease_seconds=seconds,
        models=words.get("digests", "").split(),
        is_draining="draining" in words,
    )


def _clients(totals: Mapping[bytes, bytes], weights: Mapping[str, float]) -> Sequence[ClientStatus]:
    """The clients that have something in the queue, or a weight of their own."""
    numbers = {name.decode(): int(value) for name, value in totals.items()}
    names = {name.partition(" ")[2] for name, number in numbers.items() if " " in name and number}
    what = ("jobs", "ready", "running", "pixels", "bytes")
    return [
        ClientStatus(
            name=name,
            weight=weights.get(name, USUAL_WEIGHT),
            **{each: numbers.get(f"{each} {name}", 0) for each in what},
        )
        for name in sorted(names | weights.keys())
    ]


def _dead(entry: bytes, fields: Mapping[bytes, bytes]) -> DeadSample:
    words: dict[str, Any] = {name.decode(): value.decode(errors="replace") for name, value in fields.items()}
    return DeadSample(
        job=words["job"],
        index=int(words["index"]),
        client=words["client"],
        failed=int(entry.partition(b"-")[0]) / 1000,
        rows=int(words["rows"]),
        error=words["error"],
    )
