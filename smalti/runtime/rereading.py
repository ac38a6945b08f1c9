"""Files that are read again when they change: a new state that cannot be used leaves the last good one in force."""

import asyncio
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from smalti.errors import SettingsInvalid
from smalti.printable import printable

log = structlog.get_logger()
LOOK_SECONDS = 1.0  # between two looks
Content = TypeVar("Content")
_State = tuple[tuple[int, ...], ...]  # for each file: device, inode, size, times of last change


class Reread(Generic[Content]):
    """What some files hold, as `read` makes it; `read` raises SettingsInvalid for files that cannot be used."""

    def __init__(self, paths: Sequence[Path], read: Callable[[], Content]) -> None:
        self._paths = paths
        self._read = read
        self._taken = self._failed = _state(paths)
        self._is_told = False
        self.value = read()

    def look(self) -> None:
        """Read the files again if they have changed. A state that stays unfit for two looks is logged, once.

        At the first look, one of several files may be new and another still old.
        """
        state = _state(self._paths)
        if state == self._taken or (state == self._failed and self._is_told):
            return
        try:
            self.value = self._read()
        except SettingsInvalid as error:
            self._tell(state, error)
        else:
            self._taken = state
            log.info("files read again", files=self._names)

    def _tell(self, state: _State, error: SettingsInvalid) -> None:
        self._is_told = state == self._failed
        self._failed = state
        if self._is_told:
            log.error("changed files are not used, the last good ones stay in force", reason=str(error))

    @property
    def _names(self) -> str:
        return ", ".join(printable(str(path)) for path in self._paths)


async def keep_looking(files: Iterable["Reread[Content]"]) -> None:
    """Look for changes until cancelled."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for each in files:
            await asyncio.to_thread(each.look)


def unfit(variable: str, path: Path, reason: str) -> SettingsInvalid:
    """The error for a file that a setting names and that cannot be used."""
    return SettingsInvalid(f"{variable}: {printable(str(path))} cannot be used: {reason}.")


def warn_of_writers(path: Path) -> None:
    """Warn if users other than its owner may change the file."""
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH) and _others_reach(path):
        log.warning(
            "other users of this machine may change a file that says who is let in: chmod go-w",
            file=printable(str(path)),
        )


def warn_of_readers(path: Path) -> None:
    """Warn if users other than its owner may read this user's file. Secrets of containers belong to other users."""
    status = path.stat()
    is_open = status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and status.st_uid == os.getuid()
    if is_open and _others_reach(path):
        log.warning("other users of this machine may read a secret: chmod go-rwx", file=printable(str(path)))


def _others_reach(path: Path) -> bool:
    """Whether every folder above the file lets other users through."""
    return all(folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for folder in path.resolve().parents)


def _state(paths: Sequence[Path]) -> _State:
    return tuple(_state_of(path) for path in paths)


def _state_of(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
