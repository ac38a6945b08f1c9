"""Decides which sample is drawn in which slot, and which model's turn it is."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from worker.class_shares import ClassShares
from worker.sample import Lane, Sample


@dataclass(frozen=True, slots=True)
class Tick:
    """One model call: a row for each of these samples, in their slots."""

    digest: str
    samples: tuple[Sample, ...]
    lanes: tuple[Lane, ...]  # one for each sample
    is_apart: bool = False  # a suspect alone, drawn by the suspects' runner


@dataclass(frozen=True, slots=True)
class _Turns:
    """Whose turn is next."""

    order: tuple[str, ...] = ()  # digests; the one that has waited longest comes first
    was_early: bool = False  # the last turn was taken before it was due


class Scheduler:
    """Fills free slots in the order of the claims, interactive samples first, the lowest slot first; models take turns.

    A slot is free as soon as its sample's last row is handed out: ticks are drawn in order, so the successor's first
    row comes after it. In up to `interactive_slots` slots, others make way for interactive samples, unless these have
    had more than their share. The model of an interactive sample without a row is drawn next, but other models have at
    least every second turn.

    A suspect has a slot, but ticks of its own: it is never in a tick with others.
    """

    def __init__(self, slots: int, *, interactive_slots: int = 0) -> None:
        self._interactive_slots = interactive_slots
        self._interactive: deque[Sample] = deque()
        self._waiting: deque[Sample] = deque()
        self._free = list(range(slots - 1, -1, -1))  # highest first: the lowest is popped
        self._occupied: dict[int, Sample] = {}
        self._suspects: deque[Sample] = deque()  # wait for a slot
        self._suspect: tuple[int, Sample] | None = None  # has one
        self._turns = self._turns_before = _Turns()
        self._shares = ClassShares()

    @property
    def room(self) -> int:
        """How many more samples the next tick could hold; negative if too many wait already."""
        return len(self._free) - len(self._waiting) - len(self._interactive) - len(self._suspects)

    @property
    def interactive_room(self) -> int:
        """How many more interactive samples the next tick could hold if others make way."""
        room = min(self._interactive_slots - self._interactive_in_slots, len(self._movable))
        return max(0, room - len(self._interactive))

    def enqueue(self, samples: Iterable[Sample]) -> None:
        """Let samples wait for slots."""
        for sample in samples:
            self._queue_of(sample).append(sample)

    def next_tick(self) -> Tick | None:
        """Admit waiting samples into slots and choose what to draw; None if there is nothing to draw."""
        self._admit()
        by_model: dict[str, list[tuple[int, Sample]]] = {}
        for slot, sample in sorted(self._occupied.items(), key=itemgetter(0)):
            by_model.setdefault(sample.digest, []).append((slot, sample))
        if not by_model:
            return None
        digest = self._whose_turn(by_model)
        return self._hand_out(digest, by_model[digest])

    @property
    def suspect(self) -> Sample | None:
        """The suspect that has a slot, if any."""
        return self._suspect[1] if self._suspect else None

    def next_suspect(self) -> Sample | None:
        """Admit waiting samples into slots, then return the suspect that has one."""
        self._admit()
        return self.suspect

    def suspect_tick(self) -> Tick:
        """A tick for the next row of the suspect that has a slot."""
        assert self._suspect is not None
        slot, suspect = self._suspect
        self._count(suspect)
        lane = suspect.next_lane(slot)
        if not suspect.rows_left:
            self._free_slots([slot])
        return Tick(suspect.digest, (suspect,), (lane,), is_apart=True)

    def clear(self, suspect: Sample) -> None:
        """Let a suspect that is cleared go on among the other samples."""
        self.release([suspect])
        suspect.begin_again()
        self._queue_of(suspect).appendleft(suspect)

    def take_back(self, tick: Tick) -> None:
        """Undo the last `next_tick`, because its tick will not be drawn."""
        for sample, lane in zip(tick.samples, tick.lanes, strict=True):
            sample.take_back()
            self._count(sample, -1)
            if sample.rows_left == 1:  # its last row freed the slot
                self._free.remove(lane.slot)
                self._occupied[lane.slot] = sample
        self._turns = self._turns_before

    def release(self, samples: Iterable[Sample]) -> None:
        """Remove samples that failed or are no longer held, from their slots and from the waiting ones."""
        gone = {id(sample) for sample in samples}
        if not gone:
            return
        self._interactive = deque(sample for sample in self._interactive if id(sample) not in gone)
        self._waiting = deque(sample for sample in self._waiting if id(sample) not in gone)
        self._suspects = deque(sample for sample in self._suspects if id(sample) not in gone)
        self._free_slots([slot for slot, sample in self._in_slots() if id(sample) in gone])

    def pause(self, samples: Sequence[Sample]) -> None:
        """Let samples of paused jobs leave their slots and go back to the queue."""
        self.release(samples)
        for sample in samples:
            sample.pause()

    @property
    def _interactive_in_slots(self) -> int:
        return sum(sample.is_interactive for sample in self._occupied.values())

    def _queue_of(self, sample: Sample) -> deque[Sample]:
        if sample.is_suspect:
            return self._suspects
        return self._interactive if sample.is_interactive else self._waiting

    def _in_slots(self) -> list[tuple[int, Sample]]:
        return [*self._occupied.items(), *([self._suspect] if self._suspect else [])]

    def _admit(self) -> None:
        if self._suspects and not self._suspect and self._has_place_for(self._suspects[0]):
            self._suspect = self._free.pop(), self._suspects.popleft()
        while self._interactive and (self._free or self._make_way()):
            self._occupy(self._interactive.popleft())
        while self._waiting and self._free:
            self._occupy(self._waiting.popleft())

    def _occupy(self, sample: Sample) -> None:
        self._shares.enter(sample.job_class, {other.job_class for other in self._occupied.values()})
        self._occupied[self._free.pop()] = sample

    def _has_place_for(self, suspect: Sample) -> bool:
        return bool(self._free) or (suspect.is_interactive and self._make_way())

    @property
    def _movable(self) -> Sequence[Sample]:
        """The samples in slots that would make way for an interactive one."""
        others = [sample for sample in self._occupied.values() if not sample.is_interactive]
        return [sample for sample in others if self._shares.must_make_way(sample.job_class)]

    def _make_way(self) -> bool:
        """Move a batch sample, else a standard one, with the fewest rows out of its slot. False if none can."""
        movable = self._movable
        if not movable or self._interactive_in_slots >= self._interactive_slots:
            return False
        newest = min(movable, key=lambda sample: (sample.job_class.weight, sample.row))
        self.release([newest])
        newest.make_way()
        return True

    def _hand_out(self, digest: str, samples: Sequence[tuple[int, Sample]]) -> Tick:
        for _, sample in samples:
            self._count(sample)
        lanes = tuple(sample.next_lane(slot) for slot, sample in samples)
        self._free_slots([slot for slot, sample in samples if not sample.rows_left])
        return Tick(digest, tuple(sample for _, sample in samples), lanes)

    def _count(self, sample: Sample, rows: int = 1) -> None:
        """Count a row that is handed out, or with −1 taken back. A row that is drawn again brings its class nothing."""
        if not sample.rows_again:
            self._shares.draw(sample.job_class, rows * sample.claim.request.columns)

    def _free_slots(self, slots: Sequence[int]) -> None:
        for slot in slots:
            if self._suspect and self._suspect[0] == slot:
                self._suspect = None
            else:
                del self._occupied[slot]
        self._free = sorted([*self._free, *slots], reverse=True)

    def _whose_turn(self, present: dict[str, list[tuple[int, Sample]]]) -> str:
        known = [digest for digest in self._turns.order if digest in present]
        order = known + sorted(present.keys() - known)
        interactive = [digest for digest in order if any(map(_has_just_come, present[digest]))]
        digest = interactive[0] if interactive and not self._turns.was_early else order[0]
        self._turns_before = self._turns
        self._turns = _Turns((*(other for other in order if other != digest), digest), digest != order[0])
        return digest


def _has_just_come(occupied: tuple[int, Sample]) -> bool:
    _, sample = occupied
    return sample.is_interactive and sample.row == 0
