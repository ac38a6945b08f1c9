"""Keeps one reader for each watched job, however many watch it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context

from server.queued.hints import Hints
from server.queued.reader import SharedReader, Watcher
from server.queued.turns import Turns
from smalti.errors import WatchersFull
from smalti.jobs.clients import ClientJobs
from smalti.jobs.job import Job
from smalti.jobs.watchers import WatcherQueue

_RETRY_SECONDS = 5.0


class Board:
    """The readers of all watched jobs. The first watcher of a job starts its reader, the last one stops it."""

    def __init__(self, jobs: ClientJobs, watchers: WatcherQueue, hints: Hints, *, most_per_job: int) -> None:
        self._jobs = jobs
        self._watchers = watchers
        self._hints = hints
        self._most_per_job = most_per_job
        self.turns = Turns()
        self._readers: dict[str, SharedReader] = {}
        self._reading: dict[SharedReader, asyncio.Task[None]] = {}
        self.is_stopping = False

    @property
    def watched(self) -> dict[str, int]:
        """How many watch each job, by its id."""
        return {job_id: len(reader.watchers) for job_id, reader in self._readers.items()}

    @contextmanager
    def join(self, job: Job, *, rows: bool) -> Iterator[Watcher]:
        """A watcher, who has seen this job, until the block ends. Raises WatchersFull."""
        reader = self._reader_of(job)
        watcher = reader.join(job, rows=rows)
        try:
            yield watcher
        finally:
            self._leave(reader, watcher)

    def stop(self) -> None:
        """Tell all watchers that the server stops."""
        self.is_stopping = True
        for reader in self._readers.values():
            for watcher in reader.watchers:
                watcher.wake()

    def _reader_of(self, job: Job) -> SharedReader:
        reader = self._readers.get(job.id)
        if reader is None or reader.failure is not None:
            return self._start(job)
        if len(reader.watchers) >= self._most_per_job:
            raise WatchersFull(
                f"Job {job.id} has {self._most_per_job} watchers, and no more are taken: try again later.",
                retry_seconds=_RETRY_SECONDS,
            )
        return reader

    def _start(self, job: Job) -> SharedReader:
        """Start a reader. It belongs to no client, so it runs outside the context of the RPC that needs it first."""
        reader = SharedReader(job, self._jobs, self._watchers, self._hints, self.turns)
        self._readers[job.id] = reader
        self._reading[reader] = asyncio.create_task(
            reader.run(), name=f"reader of {job.id}", context=Context()
        )
        return reader

    def _leave(self, reader: SharedReader, watcher: Watcher) -> None:
        reader.watchers.discard(watcher)
        if reader.watchers:
            return
        self._reading.pop(reader).cancel()
        job_id = reader.view.job.id
        if self._readers.get(job_id) is reader:
            del self._readers[job_id]
