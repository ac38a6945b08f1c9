"""Tells readers that something happened to their job, with one stream of events for the whole process.

It reads only while a job is watched: every tick of every worker causes an event, and each one costs a round trip.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Protocol

import structlog

from smalti.errors import Unavailable

log = structlog.get_logger()
_RETRY_SECONDS = 0.5


class EventSource(Protocol):
    """The part of WatcherQueue that Hints needs."""

    def events(self) -> AsyncGenerator[set[str], None]:
        """Ids of jobs on which something happened. The first item is empty; no event after it is missed."""
        ...


class Bell:
    """Rings when something may have happened to a job."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the reader that waits."""
        self._rung.set()

    async def wait(self, seconds: float | None) -> None:
        """Return if it has rung since the last wait, or when it rings, or after `seconds`: hints may be lost.

        None waits for a ring alone.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            pass
        self._rung.clear()


class Hints:
    """Rings the bells of readers when their jobs change."""

    def __init__(self, sources: Sequence[EventSource]) -> None:
        self._sources = sources
        self._bells: defaultdict[str, set[Bell]] = defaultdict(set)
        self._somebody_follows = asyncio.Event()

    @contextmanager
    def follow(self, job_id: str) -> Iterator[Bell]:
        """A bell for this job while the context lasts."""
        bell = Bell()
        self._bells[job_id].add(bell)
        self._somebody_follows.set()
        try:
            yield bell
        finally:
            self._bells[job_id].discard(bell)
            if not self._bells[job_id]:
                del self._bells[job_id]

    @property
    def followed(self) -> set[str]:
        """Ids of the jobs that somebody follows."""
        return set(self._bells)

    async def run(self) -> None:
        """Read events of all sources until cancelled. If Redis goes away, events are missed: ring all bells."""
        async with asyncio.TaskGroup() as tasks:
            for source in self._sources:
                tasks.create_task(self._follow(source))

    async def _follow(self, source: EventSource) -> None:
        while True:
            await self._somebody_follows.wait()
            try:
                await self._read(source)
            except Unavailable:
                self._ring_all()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _read(self, source: EventSource) -> None:
        """Read events until nobody follows a job."""
        async with aclosing(source.events()) as events:
            await anext(events)
            self._ring_all()  # a job may have changed after its reader looked and before this one listened
            async for jobs in events:
                self.ring(jobs)
                if not self._bells:
                    self._somebody_follows.clear()
                    return

    def ring(self, job_ids: Iterable[str]) -> None:
        """Ring the bells of these jobs."""
        for job_id in job_ids:
            for bell in self._bells.get(job_id, ()):
                bell.ring()

    def _ring_all(self) -> None:
        self.ring(self._bells)
