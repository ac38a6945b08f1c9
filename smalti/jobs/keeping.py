"""Writes the kept pixels of a job's samples before the job is queued; they expire if it is not."""

from collections.abc import Iterator, Sequence

from smalti.jobs.keys import KEPT_CHUNK
from smalti.jobs.store import QueueStore

_EXPIRES_MS = 60_000  # a server that dies before it queues the job leaves nothing for longer
_BYTES_AT_ONCE = 64 * 1024  # in one command, so that Redis answers others in between


async def write_kept(store: QueueStore, job_id: str, kept: Sequence[bytes]) -> None:
    """Write what the samples keep, in order, packed as `smalti.jobs.kept` does."""
    for part in _parts(kept):
        name = store.keys.kept(job_id, part.start)
        with store.available(name):
            async with store.redis.pipeline(transaction=False) as pipe:
                pipe.hset(name, mapping={str(index): kept[index] for index in part})
                pipe.pexpire(name, _EXPIRES_MS)
                await pipe.execute()


async def forget_kept(store: QueueStore, job_id: str, samples: int) -> None:
    """Remove what was written for a job that was not queued."""
    for start in range(0, samples, KEPT_CHUNK):
        with store.available():
            await store.redis.unlink(store.keys.kept(job_id, start))


def _parts(kept: Sequence[bytes]) -> Iterator[range]:
    """Ranges of indices: each is in one chunk, and is small."""
    start, size = 0, 0
    for index, data in enumerate(kept):
        if index > start and (index % KEPT_CHUNK == 0 or size + len(data) > _BYTES_AT_ONCE):
            yield range(start, index)
            start, size = index, 0
        size += len(data)
    if start < len(kept):
        yield range(start, len(kept))
