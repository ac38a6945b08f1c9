"""A worker that a test drives by hand: it claims, commits rows and ends samples only when told to."""

from collections.abc import Sequence
from itertools import count

from smalti.jobs.job import Claim, CommitReply, Failed, Finished, Progress
from smalti.jobs.workers import WorkerQueue

LOG_PROBABILITY = -12.5


class HandWorker:
    """Draws sample i in one colour, i modulo 3."""

    def __init__(self, queue: WorkerQueue, digests: Sequence[str]) -> None:
        self._queue = queue
        self._digests = digests
        self._sequence = count(1)

    async def claim(self, limit: int = 1) -> list[Claim]:
        """Claim samples."""
        return await self._queue.claim(
            "hand",
            sequence=next(self._sequence),
            digests=self._digests,
            fingerprint="by-hand",
            limit=limit,
        )

    async def draw(self, claim: Claim, *, first_row: int, rows: int) -> CommitReply:
        """Commit rows of a sample; the last rows end it."""
        request = claim.request
        done = first_row + rows == request.rows
        return await self._commit(
            Progress(
                job=claim.job,
                index=claim.index,
                token=claim.token,
                first_row=first_row,
                pixels=bytes([claim.index % 3]) * (rows * request.row_bytes),
                outcome=Finished(LOG_PROBABILITY) if done else None,
            )
        )

    async def look(self, claim: Claim, *, first_row: int) -> CommitReply:
        """Ask whether a sample goes on."""
        return await self._commit(
            Progress(job=claim.job, index=claim.index, token=claim.token, first_row=first_row)
        )

    async def fail(self, claim: Claim, error: str = "It cannot be drawn.") -> CommitReply:
        """Fail a sample."""
        return await self._commit(
            Progress(job=claim.job, index=claim.index, token=claim.token, first_row=0, outcome=Failed(error))
        )

    async def draw_all(self, limit: int = 1000) -> int:
        """Draw every sample that can be claimed now; returns how many there were."""
        drawn = 0
        while drawn < limit and (claims := await self.claim(limit - drawn)):
            for claim in claims:
                await self.draw(claim, first_row=0, rows=claim.request.rows)
            drawn += len(claims)
        return drawn

    async def leave(self) -> None:
        """Give back what is held."""
        await self._queue.leave("hand")

    async def _commit(self, progress: Progress) -> CommitReply:
        [reply] = await self._queue.commit("hand", [progress])
        return reply
