"""Makes readers of jobs take turns, so that many watchers leave connections and the event loop to others."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

_READS = 8  # jobs that are read at the same moment
_JOINS = 4  # watchers whose job is looked up at the same moment, so that a crowd does not hold up readers
_WOKEN_AT_ONCE = 16  # watchers that send one after another, while everybody else waits


class Wakeable(Protocol):
    """A watcher that waits for news."""

    def wake(self) -> None:
        """Let it send what is new."""


class Turns:
    """The order in which readers read, and in which their watchers send: first come, first served."""

    def __init__(self) -> None:
        self._reads = asyncio.Semaphore(_READS)
        self._joins = asyncio.Semaphore(_JOINS)
        self._sends = asyncio.Lock()

    @property
    def reading(self) -> AbstractAsyncContextManager[None]:
        """The right to read a job; wait for it with `async with`."""
        return self._reads

    @property
    def joining(self) -> AbstractAsyncContextManager[None]:
        """The right to look up a job for a new watcher; wait for it with `async with`."""
        return self._joins

    async def wake(self, watchers: Sequence[Wakeable]) -> None:
        """Wake them in small groups. After each group other work gets as much time as the group took.

        Groups of several readers alternate, so a job with few watchers does not wait for all watchers of another.
        """
        for start in range(0, len(watchers), _WOKEN_AT_ONCE):
            async with self._sends:
                await _wake(watchers[start : start + _WOKEN_AT_ONCE])


async def _wake(group: Sequence[Wakeable]) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    for watcher in group:
        watcher.wake()
    await asyncio.sleep(0)  # now they send
    await asyncio.sleep(clock() - began)
