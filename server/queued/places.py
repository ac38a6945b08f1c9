"""Limits how many watchers a process has, in all and of each client."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from smalti.errors import WatchersFull

_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatcherLimits:
    """How many watchers one process takes."""

    in_all: int = 10_000
    per_client: int = 2_000  # of a client with a name


class Places:
    """The places of watchers. They are counted before anything is read for them."""

    def __init__(self, limits: WatcherLimits) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()  # by client

    @property
    def taken(self) -> int:
        """How many watchers there are."""
        return self._taken.total()

    @contextmanager
    def take(self, client: str) -> Iterator[None]:
        """A place while the block lasts. Raises WatchersFull. Clients without a name are not limited one by one."""
        if self.taken >= self._limits.in_all:
            raise _full(
                f"This server has {self._limits.in_all} watchers, and takes no more: try again later."
            )
        if client and self._taken[client] >= self._limits.per_client:
            raise _full(
                f"You have {self._limits.per_client} watchers here: end one before you begin another."
            )
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]


def _full(message: str) -> WatchersFull:
    return WatchersFull(message, retry_seconds=_RETRY_SECONDS)
