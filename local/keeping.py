"""Starts a process again that ended by itself, so that one error does not stop the whole system."""

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from smalti.errors import SmaltiError

_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 30.0
_SETTLED_SECONDS = 60.0  # a process that has run for so long does not fail at its start


class Part(Protocol):
    """A process that may end by itself and can be started again."""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        ...

    def ending(self) -> str:
        """How it ended, in a sentence."""
        ...

    def restart(self) -> None:
        """Start it again; raises SmaltiError if that fails."""
        ...


class Keeper:
    """Keeps one part running: starts it again after 1 s, 2 s, 4 s … and at most 30 s.

    After it has run for a minute, the next pause is 1 s again.
    """

    def __init__(
        self, part: Part, *, say: Callable[[str], None], clock: Callable[[], float] = monotonic
    ) -> None:
        self._part = part
        self._say = say
        self._clock = clock
        self._started = clock()
        self._pause = 0.0
        self._again: float | None = None  # when it is started again

    def look(self) -> None:
        """Check the part, and start it again if its pause is over; call this every second or so."""
        if self._again is None:
            if not self._part.is_running:
                self._plan(self._part.ending())
        elif self._clock() >= self._again:
            self._restart()

    def _plan(self, reason: str) -> None:
        now = self._clock()
        settled = now - self._started >= _SETTLED_SECONDS
        self._pause = (
            min(2 * self._pause, _LONGEST_SECONDS) if self._pause and not settled else _FIRST_SECONDS
        )
        self._again = now + self._pause
        self._say(f"{reason}\nIt is started again in {self._pause:.0f} s; the rest goes on.")

    def _restart(self) -> None:
        self._again, self._started = None, self._clock()
        try:
            self._part.restart()
        except SmaltiError as error:
            self._plan(str(error))
