"""Draws rows, tick after tick, and takes each suspect by itself to its next new row."""

from collections import deque
from collections.abc import Sequence

from smalti.errors import SampleFailed
from smalti.jobs.job import Failed
from smalti.runtime.metrics import SLOTS_OCCUPIED
from worker.engine import PendingTick, Rows
from worker.parts import Parts
from worker.sample import Sample
from worker.scheduler import Tick

_ROWS_AGAIN = 32  # rows that a suspect draws again in one turn, while all other samples wait
_TICKS_AHEAD = 2  # the tick that is being drawn, and the next one


class Drawing:
    """Keeps the engine busy: the engine always has its next tick already, so it never waits for this task."""

    def __init__(self, all_parts: Sequence[Parts]) -> None:
        self._all_parts = all_parts
        parts = all_parts[0]  # for what all of them share
        self._engine = parts.engine
        self._scheduler = parts.scheduler
        self._signals = parts.signals
        self._reporter = parts.reporter
        self._under_way: deque[PendingTick] = deque()

    async def run(self) -> None:
        """Draw one row of every sample in progress, again and again."""
        while not self._signals.stopping.is_set() or self._under_way:
            if not self._under_way:
                await self._draw_suspect()
            self._look_ahead()
            if self._under_way:
                pending = self._under_way.popleft()
                self._take_rows(pending.tick, await pending)
            else:
                await self._signals.work.wait()

    def plan_again(self) -> None:
        """Put a sample that has just come into the very next tick, not into the one after it."""
        if self._under_way and self._under_way[-1].recall():
            self._scheduler.take_back(self._under_way.pop().tick)
            if tick := self._next_tick():
                self._under_way.append(self._draw(tick))

    def _look_ahead(self) -> None:
        ahead = 1 if self._scheduler.suspect else _TICKS_AHEAD
        while len(self._under_way) < ahead and (tick := self._next_tick()):
            self._under_way.append(self._draw(tick))

    def _draw(self, tick: Tick) -> PendingTick:
        self._reporter.begun(tick)
        return self._engine.draw(tick)

    def _next_tick(self) -> Tick | None:
        if self._signals.stopping.is_set():
            return None
        tick = self._scheduler.next_tick()
        SLOTS_OCCUPIED.set(len(tick.lanes) if tick else 0)
        self._signals.room.notify()
        return tick

    def _take_rows(self, tick: Tick, rows: Rows) -> None:
        for sample, row in zip(tick.samples, rows, strict=True):
            if isinstance(row, SampleFailed):
                sample.fail(str(row))
            else:
                sample.append(row)
        self._scheduler.release([sample for sample in tick.samples if isinstance(sample.outcome, Failed)])
        self._reporter.drawn(tick)
        self._signals.news.notify()

    # Suspects

    async def _draw_suspect(self) -> None:
        """Bring the suspect, if there is one, towards its next new row; after that it is a sample like any other.

        Nothing is drawn beside it, and Redis knows so. If this process dies, only this sample is charged with a crash,
        and it is never charged for what another sample did.
        """
        suspect = self._scheduler.next_suspect()
        home = self._home_of(suspect) if suspect else None
        if suspect is None or home is None or home.contact.is_away or self._signals.stopping.is_set():
            return
        suspect.is_begun = True
        if await self._tell(suspect):
            await self._draw_rows_of(suspect)
        suspect.is_begun = False
        if await self._tell(suspect) and suspect.is_cleared:
            self._scheduler.clear(suspect)

    async def _draw_rows_of(self, suspect: Sample) -> None:
        """Draw some of its old rows again; or the new row, once Redis knows that it is begun."""
        for _ in range(min(_ROWS_AGAIN, suspect.rows_again)):
            await self._draw_row_of(suspect)
        if not suspect.rows_again and await self._tell(suspect):
            await self._draw_row_of(suspect)

    async def _draw_row_of(self, suspect: Sample) -> None:
        if self._scheduler.suspect is suspect:  # it may have been lost meanwhile
            tick = self._scheduler.suspect_tick()
            self._take_rows(tick, await self._draw(tick))

    async def _tell(self, suspect: Sample) -> bool:
        """Wait until Redis knows how far the suspect is. False if Redis is away, or the suspect is no longer held."""
        self._signals.news.notify()
        while suspect.has_news and (home := self._home_of(suspect)) and not self._signals.stopping.is_set():
            await self._signals.work.wait()
            if home.contact.is_away:
                return False
        return self._home_of(suspect) is not None and not suspect.has_news

    def _home_of(self, sample: Sample) -> Parts | None:
        """Where it was claimed; None if it is no longer held."""
        return next((parts for parts in self._all_parts if sample in parts.held), None)
