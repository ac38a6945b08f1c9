"""Commits the rows that were drawn, and hands back what is unfinished when the worker stops."""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from smalti.errors import Unavailable
from smalti.jobs.job import Verdict
from smalti.runtime.metrics import COMMIT_SECONDS
from worker.contact import RETRY_SECONDS
from worker.held_samples import CommitPart
from worker.parts import Parts


class Committing:
    """One call at a time, so that a sample's rows arrive in order."""

    def __init__(self, parts: Parts) -> None:
        self._queue = parts.queue
        self._worker = parts.worker
        self._scheduler = parts.scheduler
        self._held = parts.held
        self._signals = parts.signals
        self._contact = parts.contact
        self._reporter = parts.reporter

    async def run(self) -> None:
        """Tell Redis what is new, again and again."""
        while not self._signals.stopping.is_set():
            parts = self._held.to_commit()
            if not parts:
                await self._signals.news.wait()
                continue
            try:
                await self._commit(parts)
            except Unavailable as error:
                await self._contact.wait_out(error)

    async def hand_back(self) -> None:
        """Commit all rows, give every unfinished sample back without charging a crash, and leave the queue."""
        while True:
            try:
                while parts := self._held.to_hand_back():
                    await self._commit(parts)
                await self._queue.leave(self._worker)
                return
            except Unavailable as error:
                self._contact.failed(error)
                if not self._held:  # its lease will run out
                    return
                await asyncio.sleep(RETRY_SECONDS)

    async def _commit(self, parts: Sequence[CommitPart]) -> None:
        start = perf_counter()
        replies = await self._queue.commit(self._worker, [part.progress for part in parts])
        seconds = perf_counter() - start
        COMMIT_SECONDS.observe(seconds)
        gone, paused = [], []
        for part, reply in zip(parts, replies, strict=True):
            self._reporter.answered(part, reply)
            if self._held.acknowledge(part, reply):
                self._reporter.ended(part, reply, commit_seconds=seconds)
                if reply.ends_job:
                    self._reporter.job_ended(part.sample)
                gone.append(part)
            elif reply.verdict is Verdict.PAUSED:
                paused.append(part.sample)
        self._scheduler.release([part.sample for part in gone])
        self._scheduler.pause(paused)
        if gone or paused:
            self._signals.room.notify()
        self._contact.answered()
