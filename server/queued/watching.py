"""Follows one job for one watcher: the job, then every change until it has ended."""

from collections.abc import AsyncGenerator

from server.queued.board import Board
from server.queued.view import JobEvent
from smalti.errors import Unavailable
from smalti.jobs.clients import ClientJobs
from smalti.jobs.job import Job


class Watching:
    """Gives watchers the events of jobs. It sees all jobs: ask first whether the client may see this one.

    A slow watcher costs no memory: what is new is chosen when it takes the next event. It misses steps in between, but
    no sample's end.
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    async def find(self, jobs: ClientJobs, job_id: str) -> Job:
        """The job, for a watcher who sees these jobs. Crowds of watchers wait for their turn here."""
        async with self._board.turns.joining:
            return await jobs.get(job_id)

    async def watch(self, job: Job, *, rows: bool) -> AsyncGenerator[JobEvent, None]:
        """Yield the job, which the caller has just read or submitted; then rows, ends of samples, and the job when it
        has changed; last the job when it has ended.

        Raises WatchersFull; JobNotFound when the job is deleted meanwhile; Unavailable when Redis stays away, or when
        the board stops.
        """
        with self._board.join(job, rows=rows) as watcher:
            yield job
            while not watcher.has_seen_the_end:
                if self._board.is_stopping:
                    raise Unavailable("The server is stopping.")
                await watcher.wait()
                for event in watcher.news():
                    yield event
