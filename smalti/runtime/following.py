"""Follows a model repository: each look finds what is new. Server and workers share this."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import NamedTuple, TypeAlias

import structlog

from smalti.errors import SmaltiError
from smalti.printable import printable
from smalti.runtime import inventory
from smalti.runtime.inventory import LeftOut
from smalti.runtime.repository import SERVING, ModelRepository

log = structlog.get_logger()
LOOK_SECONDS = 3.0  # between two looks
_AGAIN_SECONDS = 60.0  # after which a failed version is tried again, even if its files have not changed

State: TypeAlias = tuple[
    tuple[str, int, int, int], ...
]  # for each file: name, size, times of last change (content, status)


class Found(NamedTuple):
    """A version of a model, and the state of its files when it was found."""

    name: str
    number: int
    state: State


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a version could not be taken, and in which state its files were."""

    state: State
    reason: str
    seconds: float  # time of the failure, by the monotonic clock
    still_served: bool  # as it was before its files changed


class Following:
    """Remembers which versions of a repository were taken and which are left out.

    Each version that is left out is logged once. A version that is still being copied fails until it is complete. So
    the first look logs at once, and later looks log only what has stayed the same for two looks.
    """

    def __init__(self, repository: ModelRepository, *, names: Collection[str] = ()) -> None:
        self._repository = repository
        self._names = names
        self._taken: dict[tuple[str, int], State] = {}
        self._failed: dict[tuple[str, int], _Failure] = {}
        self._strays: tuple[LeftOut, ...] = ()
        self._seen: set[LeftOut] = set()  # at the last look
        self._told: set[LeftOut] = set()
        self._looks = 0

    @property
    def left_out(self) -> list[LeftOut]:
        """Everything in the repository that cannot be served as it is now, and why."""
        return sorted([*self._strays, *self._failures])

    @property
    def _failures(self) -> list[LeftOut]:
        failed = list(self._failed.items())  # a copy: another thread may be looking
        return [
            LeftOut(f"{name}/{number}", each.reason, each.still_served) for (name, number), each in failed
        ]

    def look(self) -> list[Found]:
        """Versions that are new, have changed, or failed a while ago. Reads the disk: not for an event loop."""
        there = self._repository.look()
        found = {
            (name, number): self._found(name, number)
            for name, numbers in there.versions.items()
            for number in numbers
            if not self._names or name in self._names
        }
        self._taken = {key: state for key, state in self._taken.items() if key in found}
        self._failed = {
            key: failure
            for key, failure in self._failed.items()
            if key in found and failure.state == found[key].state
        }
        self._strays = there.left_out
        self._looks += 1
        self._log_news()
        return [each for each in found.values() if self._is_new(each)]

    def take(self, found: Found) -> None:
        """Mark this version as taken: it is not new again until its files change."""
        self._failed.pop(found[:2], None)
        self._taken[found[:2]] = found.state

    def taken(self) -> list[Found]:
        """The versions that are marked as taken."""
        return [Found(name, number, state) for (name, number), state in list(self._taken.items())]

    def fail(self, found: Found, error: SmaltiError, *, still_served: bool = False) -> None:
        """Mark this version as failed, in the state it was found in; it may still be served as it was before."""
        self._failed[found[:2]] = _Failure(found.state, str(error), monotonic(), still_served)
        if self._looks == 1:
            self._log_news()

    def leave_out(self, name: str, number: int, error: SmaltiError, *, still_served: bool = False) -> None:
        """Mark this version as failed, in the state its files are in now."""
        self.fail(self._found(name, number), error, still_served=still_served)

    def settle(self, name: str, number: int = 0) -> None:
        """Mark a version of a model (number 0: all versions) as taken, in the state its files are in now."""
        for each in self._repository.models().get(name, ()):
            if number in (0, each):
                self.take(self._found(name, each))

    def _is_new(self, found: Found) -> bool:
        failure = self._failed.get(found[:2])
        if failure is not None and monotonic() - failure.seconds < _AGAIN_SECONDS:
            return False
        return self._taken.get(found[:2]) != found.state

    def _found(self, name: str, number: int) -> Found:
        root = self._repository.root
        state = _state(inventory.folder_of(root, name, number))
        return Found(name, number, state + _state_of_serving(root / name))

    def _log_news(self) -> None:
        now = set(self.left_out)
        for each in sorted(now - self._told if self._looks == 1 else (now & self._seen) - self._told):
            tell = log.error if each in self._failures or not each.place else log.warning
            tell(
                "goes on as before" if each.still_served else "left out of the models",
                place=each.place or printable(str(self._repository.root)),
                reason=each.reason,
            )
            self._told.add(each)
        self._seen, self._told = now, self._told & now


def _state(folder: Path) -> State:
    """The state of all files except hidden ones; empty if the folder cannot be read."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return ()
    return tuple(_state_of(folder, name) for name in names)


def _state_of_serving(folder: Path) -> State:
    """The state of the file that says how a model is served, if there is one."""
    return (_state_of(folder, SERVING),) if os.path.lexists(folder / SERVING) else ()


def _state_of(folder: Path, name: str) -> tuple[str, int, int, int]:
    try:
        status = (folder / name).stat()
    except OSError:
        return (name, 0, 0, 0)
    return (name, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
