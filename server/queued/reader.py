"""Reads one job for all its watchers: rows, ends of samples and state, as often as something changes."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from copy import copy
from time import monotonic

from server.errors import log_bug
from server.queued.hints import Bell, Hints
from server.queued.turns import Turns
from server.queued.view import JobEvent, JobView, SampleEnd, Seen
from smalti.errors import SmaltiError, Unavailable
from smalti.jobs.clients import ClientJobs
from smalti.jobs.job import TERMINAL, Job
from smalti.jobs.watchers import WatcherQueue

_LOOK_ANYWAY_SECONDS = 1.0  # hints may be lost
_BETWEEN_LOOKS_SECONDS = 0.03  # a busy job commits more often than a person can see
_RETRY_SECONDS = 0.5
_PATIENCE_SECONDS = 60.0  # watchers sit out an outage of Redis as long as workers do
_ENDS_AT_ONCE = 10_000  # samples whose ends are read in one call


class Watcher:
    """One who watches a job: what it has seen, and whether there is news."""

    def __init__(self, reader: "SharedReader", job: Job, *, rows: bool, joined: int) -> None:
        self.rows = rows
        self._reader = reader
        self._seen = Seen(job)
        self._joined = joined
        self._is_waiting = (
            True  # for a look that began after it joined; earlier ones may be older than its job
        )
        self._woken = asyncio.Event()

    @property
    def has_seen_the_end(self) -> bool:
        """Whether the last job that it saw has ended, and so was everything before."""
        return not self._is_waiting and self._seen.job.state in TERMINAL

    def wake(self) -> None:
        """Let it look for news."""
        self._woken.set()

    async def wait(self) -> None:
        """Return when there may be news. Raises what ended the reader."""
        await self._woken.wait()
        self._woken.clear()
        if self._reader.failure is not None:
            raise copy(self._reader.failure)  # each has a traceback of its own

    def news(self) -> Iterator[JobEvent]:
        """What it has not seen."""
        if not self._is_waiting:
            yield from self._reader.view.unseen(self._seen, rows=self.rows)

    def must_know(self, look: int, *, changed: bool, rows_changed: bool) -> bool:
        """Whether this look, which is over, brought something for it. The first one that is new enough always does."""
        is_first = self._is_waiting and self._joined < look
        if is_first:
            self._is_waiting = False
        return is_first or (not self._is_waiting and (changed or (self.rows and rows_changed)))


class SharedReader:
    """Reads a job while it has watchers, and wakes them. It knows the job only; who may watch it is decided before."""

    def __init__(
        self, job: Job, jobs: ClientJobs, watchers: WatcherQueue, hints: Hints, turns: Turns
    ) -> None:
        self.view = JobView(job)
        self.failure: SmaltiError | None = None  # why it reads no more
        self.watchers: set[Watcher] = set()
        self._jobs = jobs
        self._queue = watchers
        self._hints = hints
        self._turns = turns
        self._looks = 0  # begun so far
        self._told = (0, 0)  # changes of the view when watchers were last woken
        self._answered = monotonic()  # when Redis last did

    def join(self, job: Job, *, rows: bool) -> Watcher:
        """A new watcher, who has seen this job. It gets news from a look that begins after this."""
        watcher = Watcher(self, job, rows=rows, joined=self._looks)
        self.watchers.add(watcher)
        self._hints.ring({job.id})
        return watcher

    async def run(self) -> None:
        """Read until cancelled, or until reading fails: then all watchers learn why."""
        try:
            with self._hints.follow(self.view.job.id) as bell:
                while True:
                    await self._take_turn()
                    await self._pause(bell)
        except SmaltiError as error:
            await self._fail(error)
        except Exception as error:  # noqa: BLE001  # nobody else would learn of it
            await self._fail(log_bug(error, job=self.view.job.id))

    async def _take_turn(self) -> None:
        """Look once, and wake who must know. An outage of Redis is waited out for a while."""
        try:
            async with self._turns.reading:
                self._looks += 1
                await self._look()
        except Unavailable:
            if monotonic() - self._answered > _PATIENCE_SECONDS:
                raise
            await asyncio.sleep(_RETRY_SECONDS)
            self._hints.ring({self.view.job.id})  # look again
        else:
            self._answered = monotonic()
            await self._turns.wake(self._concerned())

    def _concerned(self) -> list[Watcher]:
        """Those to whom the last look brought something."""
        (changes, row_changes), self._told = self._told, (self.view.changes, self.view.row_changes)
        changed, rows_changed = self.view.changes != changes, self.view.row_changes != row_changes
        return [
            watcher
            for watcher in self.watchers
            if watcher.must_know(self._looks, changed=changed, rows_changed=rows_changed)
        ]

    async def _look(self) -> None:
        """Read what is new. The job is read first: if it has ended, everything that is read after it is final."""
        rows = any(watcher.rows for watcher in self.watchers)
        job = await self._jobs.refresh(self.view.job)
        ends = await self._new_ends(job)
        if rows:
            await self._read_rows(job, ends)
        else:
            self.view.forget_rows()
            self.view.add_ends(ends)
        self.view.set_job(job)

    async def _new_ends(self, job: Job) -> Collection[SampleEnd]:
        """The ends after those in the view. If there are very many, only the last ones: the others are added."""
        while True:
            found = await self._queue.ended(job, known=self.view.ended, limit=_ENDS_AT_ONCE)
            ends = [SampleEnd(index, succeeded) for index, succeeded in found]
            if len(ends) < _ENDS_AT_ONCE:
                return ends
            self.view.add_ends(ends)

    async def _read_rows(self, job: Job, ends: Collection[SampleEnd]) -> None:
        complete = {index: pixels async for index, pixels in self._images(job, self.view.incomplete(ends))}
        rows = [] if job.state in TERMINAL else await self._queue.rows(job, self.view.row_counts)
        self.view.add_ends(ends)
        self.view.add_complete(complete)
        self.view.add_rows(rows)

    async def _images(self, job: Job, indices: Iterable[int]) -> AsyncIterator[tuple[int, bytes]]:
        for run in _runs(indices):
            async for result in self._queue.results(job, start=run.start, limit=len(run)):
                yield result.index, result.pixels

    async def _pause(self, bell: Bell) -> None:
        """Wait until there may be news. Watchers who still wait for the first row are never delayed."""
        has_ended = self.view.job.state in TERMINAL
        await bell.wait(None if has_ended else _LOOK_ANYWAY_SECONDS)  # new watchers ring, too
        if self.view.has_begun or not any(watcher.rows for watcher in self.watchers):
            await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)

    async def _fail(self, error: SmaltiError) -> None:
        self.failure = error
        await self._turns.wake(list(self.watchers))


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
