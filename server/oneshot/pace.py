"""Tells which runs of a graph are so short that handing them to another thread would cost more than they do."""

from time import monotonic

QUICK_SECONDS = 0.0003  # handing a run to another thread and back costs about as much
_SLOW_SECONDS = 0.001  # while the event loop stands still for longer, it harms other requests
_PAUSE_SECONDS = 1.0


class Pace:
    """How long runs take: as measured while the graph was warmed up, and whether the last ones kept to it.

    Seconds are processor time of the calling thread: those do not grow when other programs are busy, too. After a slow
    run on the event loop, none is quick for a second.
    """

    def __init__(self, *, one: float, many: float, entries: int) -> None:
        """`one` and `many` are the seconds of a run with one entry, and of one with so many entries."""
        self._one = one
        self._each = max(0.0, many - one) / (entries - 1) if entries > 1 else one
        self._slow_until = 0.0

    def is_quick(self, entries: int) -> bool:
        """Whether a run of so many entries may be made on the event loop."""
        seconds = self._one + (entries - 1) * self._each
        return seconds <= QUICK_SECONDS and (not self._slow_until or monotonic() >= self._slow_until)

    def note(self, seconds: float) -> None:
        """A run on the event loop took so long."""
        if seconds > _SLOW_SECONDS:
            self._slow_until = monotonic() + _PAUSE_SECONDS
