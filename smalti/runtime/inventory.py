"""Lists the models and versions in a model repository's folder, and whatever else lies there.

Anything that cannot be read or has a wrong name is left out and noted; nothing there raises an error.
"""

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from smalti.printable import printable
from smalti.runtime.manifest import LARGEST_VERSION, MANIFEST

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_VERSION = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True, order=True)
class LeftOut:
    """Something in the repository that is not served, and why."""

    place: str  # below the repository's folder, such as sprites-vae/2; empty: the folder itself
    reason: str  # one sentence


@dataclass(frozen=True, slots=True)
class Inventory:
    """The contents of a repository."""

    versions: Mapping[str, tuple[int, ...]]  # of every model, ascending
    left_out: tuple[LeftOut, ...]


def look(root: Path) -> Inventory:
    """The contents of this folder now; never raises."""
    walk = _Walk(root)
    return Inventory(walk.models(), tuple(walk.left_out))


class _Walk:
    """One walk through the folder; notes everything that is not a model."""

    def __init__(self, root: Path) -> None:
        self.left_out: list[LeftOut] = []
        self._root = root

    def models(self) -> dict[str, tuple[int, ...]]:
        """The versions of every model."""
        models = (entry for entry in self._entries(self._root) if self._is_model(entry))
        return {folder.name: found for folder in models if (found := self._versions(folder))}

    def _versions(self, folder: Path) -> tuple[int, ...]:
        return tuple(sorted(int(entry.name) for entry in self._entries(folder) if self._is_version(entry)))

    def _is_model(self, entry: Path) -> bool:
        named = _NAME.fullmatch(entry.name) is not None
        reason = "is not a model: names of models have at most 63 characters, a-z, 0-9, '-' and '_'"
        return self._is_folder(entry, expected=named) and (named or self._leave_out(entry, reason))

    def _is_version(self, entry: Path) -> bool:
        named = _VERSION.fullmatch(entry.name) is not None and int(entry.name) <= LARGEST_VERSION
        reason = f"is not a version: versions are folders named 1, 2, 3, up to {LARGEST_VERSION}"
        if not self._is_folder(entry, expected=named):
            return False
        return self._has_manifest(entry) if named else self._leave_out(entry, reason)

    def _has_manifest(self, folder: Path) -> bool:
        try:
            mode = (folder / MANIFEST).stat().st_mode
        except FileNotFoundError:
            return self._leave_out(folder, f"has no {MANIFEST}, or not yet")
        except OSError as error:
            return self._leave_out(folder / MANIFEST, _unreadable(error))
        return stat.S_ISREG(mode) or self._leave_out(folder / MANIFEST, "is not a file")

    def _entries(self, folder: Path) -> Iterator[Path]:
        """The entries of a folder, except hidden ones: unfinished exports, .DS_Store."""
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            self._leave_out(folder, _unreadable(error))
            return
        yield from (entry for entry in entries if not entry.name.startswith("."))

    def _is_folder(self, entry: Path, *, expected: bool) -> bool:
        """A file is ignored, unless its name is that of a model or version, which should be a folder."""
        try:
            is_folder = stat.S_ISDIR(entry.stat().st_mode)
        except OSError as error:
            return self._leave_out(entry, _unreadable(error))
        return is_folder or (expected and self._leave_out(entry, "is not a folder"))

    def _leave_out(self, place: Path, reason: str) -> bool:
        """Note why this place is not served; always False."""
        below = "" if place == self._root else printable(place.relative_to(self._root).as_posix())
        self.left_out.append(LeftOut(below, f"{below or 'The model repository'} {reason}."))
        return False


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror}"
