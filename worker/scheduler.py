"""Decides which sample is drawn in which slot, and which model's turn it is."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from worker.slot import Sample

_ROWS_AHEAD = 1  # a slot whose sample has this many rows left counts as free for the next claim


@dataclass(frozen=True, slots=True)
class Tick:
    """One model call: a row for each of these samples, in these slots."""

    digest: str
    samples: tuple[tuple[int, Sample], ...]  # (slot, sample)


class Scheduler:
    """Fills free slots in the order of the claims, the lowest slot first; models take turns."""

    def __init__(self, slots: int) -> None:
        self._waiting: deque[Sample] = deque()
        self._free = list(range(slots - 1, -1, -1))  # highest first: the lowest is popped
        self._occupied: dict[int, Sample] = {}
        self._turns: deque[str] = deque()  # digests, the one whose turn is longest ago first

    @property
    def occupied(self) -> int:
        """Slots that hold a sample."""
        return len(self._occupied)

    @property
    def room(self) -> int:
        """How many samples more could be in slots after the next tick.

        Samples on their last row are counted out, so that their successors are claimed while it is drawn.
        """
        lasting = sum(sample.rows_left > _ROWS_AHEAD for sample in self._occupied.values())
        return len(self._occupied) + len(self._free) - lasting - len(self._waiting)

    def enqueue(self, samples: Iterable[Sample]) -> None:
        """Have samples wait for slots."""
        self._waiting.extend(samples)

    def next_tick(self) -> Tick | None:
        """Admit what waits into free slots, and choose what to draw; None where there is nothing."""
        self._admit()
        by_model: dict[str, list[tuple[int, Sample]]] = {}
        for slot in sorted(self._occupied):
            by_model.setdefault(self._occupied[slot].digest, []).append((slot, self._occupied[slot]))
        if not by_model:
            return None
        digest = self._whose_turn(set(by_model))
        return Tick(digest, tuple(by_model[digest]))

    def release(self, samples: Iterable[Sample]) -> None:
        """Free the slots of samples that ended or are no longer this worker's; have those that wait no longer wait."""
        gone = {id(sample) for sample in samples}
        if not gone:
            return
        self._waiting = deque(sample for sample in self._waiting if id(sample) not in gone)
        for slot in [slot for slot, sample in self._occupied.items() if id(sample) in gone]:
            del self._occupied[slot]
            self._free.append(slot)
        self._free.sort(reverse=True)

    def _admit(self) -> None:
        while self._waiting and self._free:
            self._occupied[self._free.pop()] = self._waiting.popleft()

    def _whose_turn(self, present: set[str]) -> str:
        newcomers = sorted(present.difference(self._turns))
        turns = [*(digest for digest in self._turns if digest in present), *newcomers]
        self._turns = deque([*turns[1:], turns[0]])
        return turns[0]
