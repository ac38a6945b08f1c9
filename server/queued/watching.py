"""Follows one job: a snapshot, then what changed, until it has ended; reads durable state, so nothing is missed."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field

from server.queued.hints import Bell, Hints
from smalti.errors import Unavailable
from smalti.jobs.job import TERMINAL, Job, SampleRows
from smalti.jobs.queue import JobQueue

_LOOK_ANYWAY_SECONDS = 1.0  # hints may be lost
_BETWEEN_LOOKS_SECONDS = 0.03  # a busy job commits more often than anybody can see
_COMPLETED_AT_ONCE = 256  # ended samples whose last rows are sent; with more nobody looks at single ones


@dataclass(frozen=True, slots=True)
class SampleEnd:
    """A sample that ended."""

    index: int
    succeeded: bool


JobEvent = Job | SampleRows | SampleEnd


@dataclass(slots=True)
class _Known:
    """What one watcher has been told; grows with the samples in progress, never with those that ended."""

    job: Job | None = None
    cursor: int = 0  # of ended samples
    rows: dict[int, int] = field(default_factory=dict)  # index → rows sent


class Watching:
    """Gives watchers the events of their jobs.

    A slow watcher costs no memory: state is read when it takes the next event, and what it missed between is skipped,
    save which samples ended.
    """

    def __init__(self, queue: JobQueue, hints: Hints) -> None:
        self._queue = queue
        self._hints = hints

    async def watch(
        self, job_id: str, *, rows: bool, through_stop: bool = False
    ) -> AsyncGenerator[JobEvent, None]:
        """The job, then rows, ends of samples and the job whenever it changed; last the job in a terminal state.

        Raises JobNotFound, and Unavailable when Redis is away or, unless `through_stop`, when the server stops.
        """
        known = _Known()
        with self._hints.follow(job_id) as bell:
            while known.job is None or known.job.state not in TERMINAL:
                async for event in self._look(job_id, known, rows):
                    yield event
                if bell.stopped and not through_stop:
                    raise Unavailable("The server is stopping.")
                await self._pause(bell, known, rows)

    async def _pause(self, bell: Bell, known: _Known, rows: bool) -> None:
        """Until there may be news; but nobody who waits for a first row is kept from it."""
        if known.job is None or known.job.state not in TERMINAL:
            await bell.wait(_LOOK_ANYWAY_SECONDS)
            if known.rows or known.cursor or not rows:
                await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)

    async def _look(self, job_id: str, known: _Known, rows: bool) -> AsyncGenerator[JobEvent, None]:
        """What is new. The job is read first: if it has ended then, everything else that is read is final."""
        job = await self._queue.get(job_id)
        first = known.job is None
        if first:
            yield job
        async for event in self._samples(job, known, rows):
            yield event
        if job.state in TERMINAL or (not first and job != known.job):
            yield job
        known.job = job

    async def _samples(self, job: Job, known: _Known, rows: bool) -> AsyncGenerator[JobEvent, None]:
        async for ends in self._ends(job, known):
            if rows:
                async for event in self._last_rows(job, [end.index for end in ends if end.succeeded], known):
                    yield event
            for end in ends:
                known.rows.pop(end.index, None)
                yield end
        if rows and job.state not in TERMINAL:
            for event in await self._queue.rows(job.id, known.rows):
                known.rows[event.index] = event.first_row + len(event.pixels) // job.request.row_bytes
                yield event

    async def _ends(self, job: Job, known: _Known) -> AsyncGenerator[list[SampleEnd], None]:
        while True:
            samples, known.cursor = await self._queue.ended(job.id, cursor=known.cursor)
            if not samples:
                return
            yield [SampleEnd(index, succeeded) for index, succeeded in samples]

    async def _last_rows(
        self, job: Job, indices: list[int], known: _Known
    ) -> AsyncGenerator[SampleRows, None]:
        """The rows that the watcher has not seen of samples that are complete."""
        if len(indices) > _COMPLETED_AT_ONCE:
            return
        for run in _runs(indices):
            async for result in self._queue.results(job.id, start=run.start, limit=len(run)):
                first_row = known.rows.get(result.index, 0)
                missing = result.pixels[first_row * job.request.row_bytes :]
                if missing:
                    yield SampleRows(index=result.index, first_row=first_row, pixels=missing)


def _runs(indices: Iterable[int]) -> Iterator[range]:
    """Consecutive numbers, in order, as ranges."""
    start = stop = None
    for index in sorted(indices):
        if index != stop:
            if start is not None and stop is not None:
                yield range(start, stop)
            start = index
        stop = index + 1
    if start is not None and stop is not None:
        yield range(start, stop)
