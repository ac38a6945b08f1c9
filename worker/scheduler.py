"""Decides which sample is drawn in which slot, and which model's turn it is."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from worker.slot import Lane, Sample


@dataclass(frozen=True, slots=True)
class Tick:
    """One model call: a row for each of these samples, in their slots."""

    digest: str
    samples: tuple[Sample, ...]
    lanes: tuple[Lane, ...]  # one for each sample


class Scheduler:
    """Fills free slots in the order of the claims, the lowest slot first; models take turns.

    A slot is free as soon as its sample's last row is handed out: ticks are drawn in order, so the successor's first
    row comes after it.
    """

    def __init__(self, slots: int) -> None:
        self._waiting: deque[Sample] = deque()
        self._free = list(range(slots - 1, -1, -1))  # highest first: the lowest is popped
        self._occupied: dict[int, Sample] = {}
        self._turns: deque[str] = deque()  # digests, the one whose turn is longest ago first

    @property
    def room(self) -> int:
        """How many samples more could be in the next tick; less than 0 where more are waiting."""
        return len(self._free) - len(self._waiting)

    def enqueue(self, samples: Iterable[Sample]) -> None:
        """Have samples wait for slots."""
        self._waiting.extend(samples)

    def next_tick(self) -> Tick | None:
        """Admit what waits into free slots, and choose what to draw; None where there is nothing."""
        self._admit()
        by_model: dict[str, list[tuple[int, Sample]]] = {}
        for slot, sample in sorted(self._occupied.items(), key=itemgetter(0)):
            by_model.setdefault(sample.digest, []).append((slot, sample))
        if not by_model:
            return None
        digest = self._whose_turn(set(by_model))
        return self._hand_out(digest, by_model[digest])

    def release(self, samples: Iterable[Sample]) -> None:
        """Free the slots of samples that failed or are no longer this worker's, and have them wait no longer."""
        gone = {id(sample) for sample in samples}
        if not gone:
            return
        self._waiting = deque(sample for sample in self._waiting if id(sample) not in gone)
        self._free_slots([slot for slot, sample in self._occupied.items() if id(sample) in gone])

    def _admit(self) -> None:
        while self._waiting and self._free:
            self._occupied[self._free.pop()] = self._waiting.popleft()

    def _hand_out(self, digest: str, samples: Sequence[tuple[int, Sample]]) -> Tick:
        lanes = tuple(sample.next_lane(slot) for slot, sample in samples)
        self._free_slots([slot for slot, sample in samples if not sample.rows_left])
        return Tick(digest, tuple(sample for _, sample in samples), lanes)

    def _free_slots(self, slots: Sequence[int]) -> None:
        for slot in slots:
            del self._occupied[slot]
        self._free = sorted([*self._free, *slots], reverse=True)

    def _whose_turn(self, present: set[str]) -> str:
        newcomers = sorted(present.difference(self._turns))
        turns = [*(digest for digest in self._turns if digest in present), *newcomers]
        self._turns = deque([*turns[1:], turns[0]])
        return turns[0]
