"""Knows whether Redis answers: logs each outage once, and wakes the drawing that waits for an answer."""

from collections.abc import Callable
from math import inf

import structlog

from smalti.errors import Unavailable
from worker.signals import Signals
from worker.waiting import wait_until

log = structlog.get_logger()

RETRY_SECONDS = 0.2  # between two calls while Redis is away
_SAY_AGAIN_SECONDS = 60.0


class Contact:
    """Every caller of Redis reports here whether it answered."""

    def __init__(self, signals: Signals, clock: Callable[[], float]) -> None:
        self._signals = signals
        self._clock = clock
        self._away: set[type[Unavailable]] = set()  # kinds of reasons since the last answer
        self._away_was_logged = False
        self._write_failed = False  # since the last write that was answered
        self._full = False
        self._logged: dict[str, float] = {}  # reasons, and when

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer the last call."""
        return bool(self._away)

    def answered(self) -> None:
        """Redis answered a call that writes."""
        self._write_failed = False
        if self._away and self._away_was_logged:
            log.info("redis is back")
            self._away_was_logged = False
        self._away.clear()
        self._signals.work.notify()

    def read_answered(self) -> None:
        """Redis answered a call that only reads: it may still refuse writes."""
        if not self._write_failed:
            self.answered()

    def failed(self, error: Unavailable, *, is_read: bool = False) -> None:
        """Redis did not answer, or not as it should; logged once per outage and kind of reason."""
        self._write_failed = self._write_failed or not is_read
        if type(error) not in self._away and not self._was_logged(str(error)):
            log.warning("redis is away; drawing goes on", reason=str(error))
            self._away_was_logged = True
        self._away.add(type(error))
        self._signals.work.notify()

    async def wait_out(self, error: Unavailable, *, is_read: bool = False) -> None:
        """Note that Redis did not answer, and wait a moment before the next call."""
        self.failed(error, is_read=is_read)
        await wait_until(self._signals.stopping, seconds=RETRY_SECONDS)

    def claim_answered(self) -> None:
        """Redis answered a claim, so it has room for claims."""
        if self._full:
            log.info("redis has room again")
        self._full = False
        self.answered()

    def claim_refused(self) -> None:
        """Redis has no memory for more claims, though it takes rows; logged once."""
        if not self._full:
            log.warning(
                "redis is full: no samples are claimed until there is room; what was claimed is drawn"
            )
        self._full = True

    def _was_logged(self, reason: str) -> bool:
        """Whether this reason was logged in the last minute: calls may fail and succeed in turns."""
        now, before = self._clock(), self._logged.get(reason, -inf)
        if now - before >= _SAY_AGAIN_SECONDS:
            self._logged[reason] = now
        return now - before < _SAY_AGAIN_SECONDS
