"""The queue for watchers: rows as they appear, samples as they end, and their results."""

from collections.abc import AsyncGenerator, Mapping, Sequence

from smalti.jobs import codec
from smalti.jobs.job import Job, SampleResult, SampleRows
from smalti.jobs.keys import CHUNK
from smalti.jobs.reading import damaged
from smalti.jobs.shards import Shards, as_shards
from smalti.jobs.store import BLOCK_SECONDS, QueueStore

_READ_BYTES = 1_000_000  # bytes of results in one answer of Redis


class WatcherQueue:
    """Reads rows, ends and results of a job's samples. For a job that was forgotten meanwhile there are none."""

    def __init__(self, store: QueueStore | Shards) -> None:
        self._shards = as_shards(store)

    def by_shard(self) -> Sequence["WatcherQueue"]:
        """The same queue, one part of the pool at a time: each part has events of its own."""
        return [WatcherQueue(store) for store in self._shards.all]

    async def results(
        self, job: Job, *, start: int = 0, limit: int = 0
    ) -> AsyncGenerator[SampleResult, None]:
        """Ended samples with indices from `start`, in order; `limit` is the number of indices, 0 means all.

        Raises JobDamaged at a result that cannot be read.
        """
        request = job.request
        end = min(request.count, start + limit) if limit else request.count
        page = max(1, min(CHUNK, _READ_BYTES // (request.row_bytes * request.rows)))
        while start < end:
            stop = min(end, start + page, (start // CHUNK + 1) * CHUNK)
            for result in await self._read_results(job.id, range(start, stop)):
                yield result
            start = stop

    async def rows(self, job: Job, known: Mapping[int, int], *, limit: int = 256) -> list[SampleRows]:
        """New rows of samples in progress; `known` says how many rows of a sample the caller has.

        Only the `limit` lowest indices are read, so that memory stays bounded: nobody looks at thousands at once.
        """
        row_bytes = job.request.row_bytes
        indices = (await self._in_progress(job.id))[:limit]
        store = self._shards.of(job.id)
        with store.available():
            async with store.redis.pipeline(transaction=False) as pipe:
                for index in indices:
                    pipe.getrange(store.keys.pixels(job.id, index), known.get(index, 0) * row_bytes, -1)
                found = await pipe.execute()
        return [
            SampleRows(index=index, first_row=known.get(index, 0), pixels=pixels)
            for index, pixels in zip(indices, found, strict=True)
            if pixels
        ]

    async def ended(self, job: Job, *, known: int = 0, limit: int = 10_000) -> list[tuple[int, bool]]:
        """(index, succeeded) of samples in the order in which they ended, after the first `known` ones."""
        store = self._shards.of(job.id)
        ends = store.keys.ended(job.id)
        with store.available(ends):
            entries = await store.redis.getrange(ends, 4 * known, 4 * (known + limit) - 1)
        return codec.decode_ended(entries)

    async def events(self) -> AsyncGenerator[set[str], None]:
        """Ids of jobs on which something happened. The first item is empty; no event after it is missed.

        While nothing happens, an empty item comes about once a second. These are hints that may be lost, so read the
        job itself now and then. Raises Unavailable when Redis goes away. One reader serves a whole process. If a pool
        has several parts, these are the jobs of the first (see `by_shard`).
        """
        store = self._shards.all[0]
        events = store.keys.events
        with store.available(events):
            newest = await store.redis.xrevrange(events, count=1)
        last: bytes | str = newest[0][0] if newest else "0-0"
        yield set()
        while True:
            entries = await store.read_stream(events, last, BLOCK_SECONDS)
            yield {fields[b"job"].decode() for _, fields in entries}
            last = entries[-1][0] if entries else last

    async def _in_progress(self, job_id: str) -> Sequence[int]:
        store = self._shards.of(job_id)
        keys = store.keys
        with store.available():
            async with store.redis.pipeline(transaction=False) as pipe:
                pipe.smembers(keys.running(job_id))
                pipe.zrange(keys.returned(job_id), 1, "+inf", byscore=True, offset=0, num=CHUNK)
                pipe.zrange(keys.suspects(job_id), 0, CHUNK - 1)
                found = await pipe.execute()
        return sorted({int(index) for indices in found for index in indices})

    async def _read_results(self, job_id: str, indices: range) -> Sequence[SampleResult]:
        store = self._shards.of(job_id)
        chunk = store.keys.result(job_id, indices.start)
        with store.available(chunk):
            values = await store.redis.hmget(chunk, [str(i) for i in indices])
        try:
            return [codec.decode_result(i, value) for i, value in zip(indices, values, strict=True) if value]
        except codec.Undecodable as error:
            raise damaged(job_id) from error
