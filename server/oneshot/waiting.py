"""Keeps the one-shot requests that wait for a run of a graph, in the order of service, and counts their entries."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from numpy.typing import NDArray

from server.oneshot.statistics import RunTimes

Arrays = Mapping[str, NDArray[Any]]  # by name of input or output; the first axis counts the entries
Form: TypeAlias = tuple[
    tuple[str, str, tuple[int, ...]], ...
]  # name, type and shape of every input, without its batch
_NO_TIMES = RunTimes(0, 0, 0)


@dataclass(eq=False, slots=True, kw_only=True)
class Part:
    """One request, or a part of one that is too large for a single run. Only parts of one form share a run."""

    inputs: Arrays
    entries: int
    form: Form
    level: int
    deadline_ns: float | None
    since_ns: int  # by time.monotonic_ns, as all times here
    answer: asyncio.Future[Arrays]
    started_ns: int = 0  # its run
    times: RunTimes = _NO_TIMES


@dataclass(slots=True)
class _Level:
    """The parts of one priority level; those whose timeout has passed wait behind the others."""

    timely: dict[Part, None] = field(default_factory=dict)  # dicts, because they forget in one step
    delayed: dict[Part, None] = field(default_factory=dict)
    entries: int = 0


class Waiting:
    """All parts that wait: level 0 or 1 first, and in each level those that came first."""

    def __init__(self) -> None:
        self.entries = 0
        self._levels: dict[int, _Level] = {}

    def __bool__(self) -> bool:
        return self.entries > 0

    def __len__(self) -> int:
        return sum(len(level.timely) + len(level.delayed) for level in self._levels.values())

    def __iter__(self) -> Iterator[Part]:
        for number in sorted(self._levels):
            yield from self._levels[number].timely
            yield from self._levels[number].delayed

    def entries_of(self, level: int) -> int:
        """How many entries wait in a level."""
        return self._levels[level].entries if level in self._levels else 0

    def add(self, part: Part) -> None:
        """Let a part wait behind the others of its level."""
        level = self._levels.setdefault(part.level, _Level())
        level.timely[part] = None
        self._count(level, part.entries)

    def remove(self, part: Part) -> bool:
        """Let a part wait no more; returns whether it was still there."""
        level = self._levels.get(part.level)
        if level is None or (part not in level.timely and part not in level.delayed):
            return False
        level.timely.pop(part, None)
        level.delayed.pop(part, None)
        self._count(level, -part.entries)
        return True

    def delay(self, part: Part) -> None:
        """Let a part, if it still waits, wait behind all parts of its level that are not delayed."""
        level = self._levels.get(part.level)
        if level is not None and part in level.timely:
            del level.timely[part]
            level.delayed[part] = None

    def _count(self, level: _Level, entries: int) -> None:
        level.entries += entries
        self.entries += entries


def form_of(inputs: Arrays) -> Form:
    """What two requests must have in common to share a run."""
    return tuple((name, value.dtype.str, value.shape[1:]) for name, value in sorted(inputs.items()))
