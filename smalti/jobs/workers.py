"""The queue for workers: they claim samples, commit rows, keep their lease, and wait for work."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from time import monotonic

from smalti.jobs import codec, script
from smalti.jobs.job import Claim, CommitReply, Progress, Released
from smalti.jobs.limits import EVERYBODY
from smalti.jobs.reading import asking
from smalti.jobs.store import QueueStore

# While a script runs, Redis answers nobody. So one call hands out, stores or takes back so much at most.
CLAIMED_AT_ONCE = 32  # samples
_COMMITTED_AT_ONCE = 256  # samples
_WORK_OF_AN_END = 12  # a sample that ends is as much work as this many others
_COMMITTED_BYTES = 1024 * 1024  # bytes of pixels; commit.lua has the same number
_GIVEN_BACK_AT_ONCE = 32  # samples


class WorkerQueue:
    """Hands samples to workers and stores what they draw. A worker's name is never used by a second process."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store
        self._last_rung: dict[str, bytes | str] = {}  # bell → its last entry that was read

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
    ) -> list[Claim]:
        """Take up to `limit` samples of jobs whose model is in `digests`, and a lease.

        A call brings at most CLAIMED_AT_ONCE samples, and fewer if they are large: so call again until none comes.
        Interactive samples come first, up to `interactive` of them even if `limit` is less (default: `limit`). Then
        the classes share what is left as 16 : 4 : 1. If a worker holds more samples than
        `slots`, only `slots` of them are reported as running.

        A call with the same sequence number gives the same samples again, so increase it only after a reply.
        Fingerprint and digests must not contain white space or '+'.
        """
        if re.search(r"[\s+]", fingerprint):
            raise ValueError(f"a fingerprint is one word without '+', not {fingerprint!r}")
        first = min(limit if interactive is None else interactive, CLAIMED_AT_ONCE)
        limit, lease = min(limit, CLAIMED_AT_ONCE), self._store.lease_ms
        reply = await self._store.run(
            script.CLAIM, worker, lease, sequence, fingerprint, limit, first, slots or "", *digests
        )
        claims, unreadable = codec.decode_claims(reply)
        if unreadable:
            await self._drop(worker, unreadable)
        return claims

    async def _drop(self, worker: str, samples: Sequence[Progress]) -> None:
        """End samples that cannot be drawn. Jobs whose requests cannot be read are cancelled."""
        for job_id in {sample.job for sample in samples if isinstance(sample.outcome, Released)}:
            await self._store.run(script.CANCEL, job_id, *asking(EVERYBODY))
        await self.commit(worker, samples)

    async def commit(self, worker: str, progress: Sequence[Progress]) -> list[CommitReply]:
        """Store what was drawn since the last commit, and renew the lease.

        Send a Progress for every held sample, also without pixels: the reply says which ones were cancelled. No sample
        comes twice in a call. A reply also says whether the sample was the last of its job. Many samples are stored a
        part after another; if that is interrupted, commit all of them again.
        """
        replies: list[CommitReply] = []
        while len(replies) < len(progress):
            samples = codec.encode_progress(list(_next_of(progress, len(replies))))
            answer = await self._store.run(script.COMMIT, worker, self._store.lease_ms, *samples)
            replies += codec.decode_commit(answer)
        return replies

    async def renew(self, worker: str, *, sequence: int | None = None, tokens: Collection[str] = ()) -> bool:
        """Keep the worker's samples for another lease; False if the lease has run out and they are gone.

        `sequence` is the number of its next claim, and `tokens` are those of the samples that it holds. With both,
        other samples that Redis counts as its own are given back: a failover may have lost their ends.
        """
        claims = "" if sequence is None else sequence
        return bool(await self._store.run(script.RENEW, worker, self._store.lease_ms, claims, *tokens))

    async def is_draining(self, worker: str) -> bool:
        """Whether somebody asked the worker to stop."""
        name = f"{self._store.keys.prefix}worker:{worker}"
        with self._store.available(name):
            return bool(await self._store.redis.hexists(name, "draining"))

    async def leave(self, worker: str) -> None:
        """Forget a worker that stops. Samples that it still holds are given back, and no crash is counted."""
        while await self._store.run(script.LEAVE, worker, _GIVEN_BACK_AT_ONCE):
            pass

    async def wait_for_work(self, seconds: float) -> None:
        """Return when there may be something to claim, or after `seconds`."""
        await self._wait_for_bell(self._store.keys.bell, seconds)

    async def wait_for_interactive(self, seconds: float) -> None:
        """Return when there may be an interactive sample to claim, or after `seconds`."""
        await self._wait_for_bell(self._store.keys.interactive, seconds)

    async def _wait_for_bell(self, bell: str, seconds: float) -> None:
        deadline = monotonic() + seconds
        while (left := deadline - monotonic()) > 0:
            entries = await self._store.read_stream(bell, self._last_rung.get(bell, "0-0"), left)
            if entries:
                self._last_rung[bell] = entries[-1][0]
                return


def _next_of(progress: Sequence[Progress], start: int) -> Iterator[Progress]:
    """As many of these as one call stores; at least one."""
    room, room_bytes = _COMMITTED_AT_ONCE, _COMMITTED_BYTES
    for part in islice(progress, start, None):
        yield part
        room -= _WORK_OF_AN_END if part.outcome else 1
        room_bytes -= len(part.pixels)
        if room <= 0 or room_bytes <= 0:
            return
