"""The queue for those who run it: who has what, pauses, draining a worker, failed samples and their retries."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from typing import Any, TypeVar

from smalti.errors import InvalidRequest, WorkerNotFound
from smalti.jobs import script
from smalti.jobs.clients import ClientQueue
from smalti.jobs.job import Job, QueueDepth
from smalti.jobs.kept import Unpackable, unpacked
from smalti.jobs.limits import EVERYBODY, UNSAID, ClientLimits
from smalti.jobs.shards import Shards, as_shards
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


Named = TypeVar("Named", WorkerStatus, ClientStatus)


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

    def __init__(self, store: QueueStore | Shards, clients: ClientQueue) -> None:
        self._shards = as_shards(store)
        self._clients = clients

    async def statistics(self) -> QueueStatistics:
        """What the pool has now."""
        return _together(await asyncio.gather(*map(_statistics, self._shards.all)))

    async def pause(self) -> None:
        """Hand out no more samples; those that workers hold are drawn to their ends."""
        await asyncio.gather(*(store.run(script.PAUSE_POOL, 1) for store in self._shards.all))

    async def resume(self) -> None:
        """Hand out samples again."""
        await asyncio.gather(*(store.run(script.PAUSE_POOL, 0) for store in self._shards.all))

    async def drain(self, worker: str) -> None:
        """Let a worker stop as after SIGTERM, within about a second; raises WorkerNotFound."""
        if not any(await asyncio.gather(*(store.run(script.DRAIN, worker) for store in self._shards.all))):
            raise WorkerNotFound(
                f"There is no worker {printable(worker)} with a lease: 'smalti admin status' lists them."
            )

    async def audit(self) -> Mapping[str, int]:
        """Audit the queue now; returns how many repairs of each kind were made."""
        upkeeps = [QueueUpkeep(store) for store in self._shards.all]
        return sum(await asyncio.gather(*(each.audit(every_seconds=0) for each in upkeeps)), Counter[str]())

    async def dead(self, *, job_id: str = "", limit: int = MOST_DEAD) -> Sequence[DeadSample]:
        """The samples that failed, the newest first, of one job or of all; the queue remembers some thousands."""
        stores = [self._shards.of(job_id)] if job_id else self._shards.all
        most = None if job_id else limit
        found = merge(
            *await asyncio.gather(*(_dead_of(store, most) for store in stores)), key=lambda each: -each.failed
        )
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
        store = self._shards.of(job.id)
        name = store.keys.kept(job.id, index) if has_own else store.keys.job(job.id)
        with store.available(name):
            found = await store.redis.hget(name, str(index) if has_own else "kept") or b""
        try:
            pixels = request.rows * request.columns
            return unpacked(found, pixels=pixels, colours=request.colours) if has_own else bytes(found)
        except Unpackable as error:
            raise InvalidRequest(
                f"The kept pixels of sample {index} of job {job.id} are damaged: submit the job again."
            ) from error

    async def _require_failed(self, job: Job, index: int) -> None:
        results = WatcherQueue(self._shards).results(job, start=index, limit=1)
        async for result in results:
            if result.index == index and result.error:
                return
        raise InvalidRequest(f"Sample {index} of job {job.id} has not failed.", field="index")


async def _statistics(store: QueueStore) -> QueueStatistics:
    """What one part of a pool has now."""
    keys = store.keys
    depth = await QueueUpkeep(store).depth()
    with store.available():
        async with store.redis.pipeline(transaction=False) as pipe:
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
        workers=await _workers(store, {name: ends / 1000 - now for name, ends in leases}),
        clients=_clients(totals, await ClientWeights(store).all()),
    )


def _together(parts: Sequence[QueueStatistics]) -> QueueStatistics:
    """All parts as one. It is paused if any part is: a pause that met a part that was away is given again."""
    return QueueStatistics(
        depth=QueueDepth.of_all([part.depth for part in parts]),
        is_paused=any(part.is_paused for part in parts),
        dead=sum(part.dead for part in parts),
        workers=_by_name([worker for part in parts for worker in part.workers], _same_worker),
        clients=_by_name([client for part in parts for client in part.clients], _same_client),
    )


def _by_name(found: Sequence[Named], add: Callable[[Named, Named], Named]) -> Sequence[Named]:
    together: dict[str, Named] = {}
    for each in found:
        together[each.name] = add(together[each.name], each) if each.name in together else each
    return list(together.values())


def _same_worker(one: WorkerStatus, other: WorkerStatus) -> WorkerStatus:
    return replace(
        one,
        held=one.held + other.held,
        lease_seconds=max(one.lease_seconds, other.lease_seconds),
        is_draining=one.is_draining or other.is_draining,
    )


def _same_client(one: ClientStatus, other: ClientStatus) -> ClientStatus:
    what = ("jobs", "ready", "running", "pixels", "bytes")
    return replace(one, **{each: getattr(one, each) + getattr(other, each) for each in what})


async def _workers(store: QueueStore, leases: Mapping[bytes, float]) -> Sequence[WorkerStatus]:
    prefix = store.keys.prefix
    with store.available():
        async with store.redis.pipeline(transaction=False) as pipe:
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


async def _dead_of(store: QueueStore, most: int | None) -> Sequence[DeadSample]:
    dead = store.keys.dead
    with store.available(dead):
        entries = await store.redis.xrevrange(dead, count=most)
    return [_dead(entry, fields) for entry, fields in entries]


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
