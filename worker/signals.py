"""The signals between the tasks of a worker: who raises each, who waits for it, and what it means."""

import asyncio
from copy import copy


class Signal:
    """Wakes the task that waits for it.

    It says that something may have changed, not what. The task checks for itself, and waits again if nothing has.
    A signal that nobody waits for is kept until somebody does.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._events = [self._event]

    def another(self) -> "Signal":
        """The same signal for one more task that waits for it."""
        other = Signal()
        other._events = self._events
        self._events.append(other._event)
        return other

    def notify(self) -> None:
        """Raise the signal, for all who wait for it."""
        for event in self._events:
            event.set()

    async def wait(self) -> None:
        """Wait until the signal is raised, and lower it."""
        await self._event.wait()
        self._event.clear()


class Signals:
    """All signals of one worker.

    | signal   | raised by                                      | waited for by | means                          |
    |----------|------------------------------------------------|---------------|--------------------------------|
    | stopping | Worker                                         | every task    | claim and draw nothing more    |
    | room     | Drawing: a tick was handed out                 | Claiming      | there may be room for a claim  |
    |          | Committing, Lease: samples are no longer held  |               |                                |
    |          | Claiming.listen: an interactive one may wait   |               |                                |
    | work     | Claiming: samples came                         | Drawing       | there may be something to draw |
    |          | Lease: samples are no longer held              |               |                                |
    |          | Contact: a call to Redis has ended             |               |                                |
    | news     | Drawing: rows were drawn, or a suspect begins  | Committing    | Redis may lack something       |
    |          | Claiming: samples came, some refused perhaps   |               |                                |

    Worker also raises `room`, `work` and `news` when it stops, so that no task waits for ever.
    """

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.room, self.work, self.news = Signal(), Signal(), Signal()

    def for_another_part(self) -> "Signals":
        """The same signals for the tasks that talk to another part of the queue: both parts' tasks are woken."""
        other = copy(self)
        other.room, other.news = self.room.another(), self.news.another()
        return other

    def stop(self) -> None:
        """Raise `stopping`, and wake every task."""
        self.stopping.set()
        for signal in (self.room, self.work, self.news):
            signal.notify()
