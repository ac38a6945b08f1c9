"""Bounds the calls of this process: those that are open, and those whose requests are being answered."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from time import monotonic

from smalti.errors import ServerFull

_REFUSALS_PER_SECOND = 200  # more than this cost the answers too much time
_SHORTEST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.1, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """How many calls a service may have at once, for all of its clients, and how many streams a connection."""

    answered: int = 256  # whose request has come and whose only response has not been given
    open: int = 8192  # all of them: streams, and those whose request is still on its way, too
    streams: int = 512  # of one connection, for all services; a stream may stay for hours


class Calls:
    """Counts calls by service, so that a flood of one service leaves the others as they are."""

    def __init__(self, limits: CallLimits, clock: Callable[[], float] = monotonic) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._refusals = _Rate(clock)

    def opened(self, service: str) -> "_Counted":
        """Count a call of this service as open; raises ServerFull at once where there are too many."""
        if self._open[service] >= self._limits.open:
            raise self._full(service, "open", self._limits.open)
        return _Counted(self._open, service)

    def refuse_more(self, service: str) -> None:
        """Raise ServerFull where no other request of this service may be answered now."""
        if self._answered[service] >= self._limits.answered:
            raise self._full(service, "being answered", self._limits.answered)

    def answered(self, service: str) -> "_Counted":
        """Count a request of this service as being answered; raises ServerFull at once where there are too many."""
        self.refuse_more(service)
        return _Counted(self._answered, service)

    def streaming(self, connection: str) -> "_Counted":
        """Count a stream of responses on a connection; raises ServerFull at once where it has too many."""
        if self._streams[connection] >= self._limits.streams:
            raise ServerFull(
                f"This connection has {self._limits.streams} streams open, as many as it may: end some, or use another "
                "connection.",
                retry_seconds=self._delay(),
            )
        return _Counted(self._streams, connection)

    def _full(self, service: str, state: str, limit: int) -> ServerFull:
        name = service.rpartition(".")[2]
        return ServerFull(
            f"The server is busy: {limit} calls of {name} are {state}, and it takes no more.",
            retry_seconds=self._delay(),
        )

    def _delay(self) -> float:
        """The more calls are refused, the later they may come again: otherwise the server does nothing but refuse."""
        seconds = self._refusals.note() / _REFUSALS_PER_SECOND
        spread = random.uniform(0.5, 1.5)  # or all would come again at once
        return min(max(seconds, _SHORTEST_DELAY_SECONDS) * spread, _LONGEST_DELAY_SECONDS)


class _Rate:
    """Events per second, over about the last second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._value, self._since = 0.0, clock()

    def note(self) -> float:
        """One more event; returns the rate."""
        now = self._clock()
        self._value = self._value * exp(self._since - now) + 1
        self._since = now
        return self._value


class _Counted:
    """Counts one more of a key as long as a block of `with` runs. A generator would cost three times as much."""

    __slots__ = ("_counter", "_key")

    def __init__(self, counter: Counter[str], key: str) -> None:
        self._counter = counter
        self._key = key

    def __enter__(self) -> None:
        self._counter[self._key] += 1

    def __exit__(self, *_: object) -> None:
        self._counter[self._key] -= 1
        if not self._counter[self._key]:
            del self._counter[self._key]  # connections come and go
