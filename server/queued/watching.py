"""Follows one job: a snapshot, then every change until it has ended. It reads stored state, so nothing is missed."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field

from server.queued.hints import Bell, Hints
from smalti.errors import Unavailable
from smalti.jobs.clients import ClientJobs
from smalti.jobs.job import TERMINAL, Job, SampleRows
from smalti.jobs.watchers import WatcherQueue

_LOOK_ANYWAY_SECONDS = 1.0  # hints may be lost
_BETWEEN_LOOKS_SECONDS = 0.03  # a busy job commits more often than a person can see
_COMPLETED_AT_ONCE = 256  # if more samples ended at once, nobody looks at their last rows: skip them
_ENDS_AT_ONCE = 10_000  # samples whose ends are read in one call


@dataclass(frozen=True, slots=True)
class SampleEnd:
    """A sample that ended."""

    index: int
    succeeded: bool


JobEvent = Job | SampleRows | SampleEnd


@dataclass(slots=True)
class _Known:
    """What one watcher has seen. It grows with the samples in progress, not with those that ended."""

    job: Job | None = None
    cursor: int = 0  # position in the list of ended samples
    rows: dict[int, int] = field(default_factory=dict)  # index of a sample → number of rows sent


class Watching:
    """Gives watchers the events of jobs. It sees all jobs: ask first whether the client may see this one.

    A slow watcher costs no memory: state is read when it takes the next event. It misses steps in between, but no
    sample's end.
    """

    def __init__(self, queue: ClientJobs, watchers: WatcherQueue, hints: Hints) -> None:
        self._queue = queue
        self._watchers = watchers
        self._hints = hints

    async def watch(
        self, job_id: str, *, rows: bool, through_stop: bool = False
    ) -> AsyncGenerator[JobEvent, None]:
        """Yield the job; then rows, ends of samples, and the job when it has changed; last the job when it has ended.

        Raises JobNotFound; Unavailable when Redis is away, or when the server stops, unless `through_stop`.
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
        """Wait until there may be news. A watcher that still waits for its first row is never delayed."""
        if known.job is None or known.job.state not in TERMINAL:
            await bell.wait(_LOOK_ANYWAY_SECONDS)
            if known.rows or known.cursor or not rows:
                await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)

    async def _look(self, job_id: str, known: _Known, rows: bool) -> AsyncGenerator[JobEvent, None]:
        """What is new. The job is read first: if it has ended, everything that is read after it is final."""
        first = known.job is None
        job = await (self._queue.refresh(known.job) if known.job else self._queue.get(job_id))
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
            for event in await self._watchers.rows(job, known.rows):
                known.rows[event.index] = event.first_row + len(event.pixels) // job.request.row_bytes
                yield event

    async def _ends(self, job: Job, known: _Known) -> AsyncGenerator[list[SampleEnd], None]:
        may_be_more = True
        while may_be_more:
            samples, known.cursor = await self._watchers.ended(job, cursor=known.cursor, limit=_ENDS_AT_ONCE)
            may_be_more = len(samples) == _ENDS_AT_ONCE
            yield [SampleEnd(index, succeeded) for index, succeeded in samples]

    async def _last_rows(
        self, job: Job, indices: list[int], known: _Known
    ) -> AsyncGenerator[SampleRows, None]:
        """Rows of complete samples that the watcher has not seen."""
        if len(indices) > _COMPLETED_AT_ONCE:
            return
        for run in _runs(indices):
            async for result in self._watchers.results(job, start=run.start, limit=len(run)):
                first_row = known.rows.get(result.index, 0)
                missing = result.pixels[first_row * job.request.row_bytes :]
                if missing:
                    yield SampleRows(index=result.index, first_row=first_row, pixels=missing)


def _runs(indices: Iterable[int]) -> Iterator[range]:
    """The numbers in order, as ranges of consecutive ones."""
    start = stop = None
    for index in sorted(indices):
        if index != stop:
            if start is not None and stop is not None:
                yield range(start, stop)
            start = index
        stop = index + 1
    if start is not None and stop is not None:
        yield range(start, stop)
