"""Decides which of the waiting requests share the next run of a graph, and how long that run waits for more."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from server.oneshot.waiting import Part
from smalti.runtime.batching import Batching


class Choice(NamedTuple):
    """The parts of the next run, in order; `is_complete` if waiting for more parts would not improve it."""

    parts: Sequence[Part]
    is_complete: bool


def choose(waiting: Iterable[Part], batching: Batching, *, most: int, crowd: int) -> Choice:
    """The first part and all that may go with it, at most `most` entries, and of a preferred size where possible.

    `crowd` is the number of parts in the last run. A choice is complete if no other part fits, if it has a preferred
    size, or, where no size is preferred, if it has as many parts as the last run.

    Parts of another form wait for a run of their own. One that is too large for the rest of the run ends it: smaller
    ones behind it do not overtake it.
    """
    parts, is_full = _fitting(waiting, most)
    preferred = _preferred(parts, batching.preferred_batch_sizes)
    is_crowd = len(parts) >= crowd and (crowd == 1 or not batching.preferred_batch_sizes)
    return Choice(preferred or parts, is_full or bool(preferred) or is_crowd)


def _fitting(waiting: Iterable[Part], most: int) -> tuple[list[Part], bool]:
    """The parts that fit into one run, and whether no other part fits beside them."""
    parts: list[Part] = []
    room = most
    for part in waiting:
        if not parts or part.form == parts[0].form:
            if parts and part.entries > room:
                return parts, True
            parts.append(part)
            room -= part.entries
            if room <= 0:  # less than 0: a part from before the limit was lowered
                return parts, True
    return parts, False


def _preferred(parts: Sequence[Part], sizes: Sequence[int]) -> Sequence[Part]:
    """The longest beginning of a preferred size; empty if there is none."""
    best, entries = 0, 0
    for position, part in enumerate(parts, start=1):
        entries += part.entries
        if entries in sizes:
            best = position
    return parts[:best]


def patience_ns(choice: Choice, batching: Batching, now_ns: int) -> int:
    """How many more nanoseconds this run should wait for others, if there are others."""
    if choice.is_complete:
        return 0
    oldest = min(part.since_ns for part in choice.parts)
    return max(0, oldest + batching.max_queue_delay_microseconds * 1000 - now_ns)
