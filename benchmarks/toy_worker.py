"""A worker that draws nothing: its rows are black, and there at once. So it loads the queue, not the processor."""

from smalti.jobs.job import Claim, CommitReply, Finished, Progress, Verdict
from smalti.jobs.workers import WorkerQueue

_LOST = frozenset({Verdict.FENCED, Verdict.CANCELLED, Verdict.CORRUPT})


def black_rows(claim: Claim, first: int, last: int) -> Progress:
    """Rows of a sample, which ends with its last one."""
    return Progress(
        job=claim.job,
        index=claim.index,
        token=claim.token,
        first_row=first,
        pixels=bytes((last - first) * claim.request.row_bytes),
        outcome=Finished(-1000.0) if last == claim.request.rows else None,
    )


class ToyWorker:
    """Claims samples and commits their rows, as a worker does."""

    def __init__(self, queue: WorkerQueue, name: str, *, digest: str, slots: int) -> None:
        self._queue = queue
        self._name = name
        self._digest = digest
        self._slots = slots
        self._sequence = 0
        self._held: list[tuple[Claim, int]] = []  # and how many rows of it are committed

    @property
    def room(self) -> int:
        """Slots without a sample."""
        return self._slots - len(self._held)

    async def claim(self, number: int) -> list[Claim]:
        """So many samples, or all there are, in as many calls as that takes; they are not held."""
        claims: list[Claim] = []
        while len(claims) < number and (found := await self._claim(number - len(claims))):
            claims += found
        return claims

    async def fill(self) -> int:
        """Claim samples for all free slots; returns how many came."""
        claims = await self.claim(self.room)
        self._held += [(claim, len(claim.pixels) // claim.request.row_bytes) for claim in claims]
        return len(claims)

    async def commit(self, rows: int = 1) -> int:
        """Commit so many more rows of each held sample, or as many as it has left; returns how many rows in all."""
        parts = [black_rows(claim, done, min(done + rows, claim.request.rows)) for claim, done in self._held]
        replies = await self._queue.commit(self._name, parts)
        before = sum(done for _, done in self._held)
        held = [(claim, reply.rows) for (claim, _), reply in zip(self._held, replies, strict=True)]
        self._held = [each for each, reply in zip(held, replies, strict=True) if _goes_on(each[0], reply)]
        return sum(done for _, done in held) - before

    async def leave(self) -> None:
        """Give everything back."""
        self._held = []
        await self._queue.leave(self._name)

    async def _claim(self, number: int) -> list[Claim]:
        self._sequence += 1
        return await self._queue.claim(
            self._name,
            sequence=self._sequence,
            digests=[self._digest],
            fingerprint="benchmark",
            limit=number,
            slots=self._slots,
        )


def _goes_on(claim: Claim, reply: CommitReply) -> bool:
    return reply.verdict not in _LOST and reply.rows < claim.request.rows
