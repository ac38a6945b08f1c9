"""Lists the models and versions in a model repository's folder, and whatever else lies there.

A version is a folder with a manifest or with an ONNX file. The ONNX file of an only version may also lie in the model's
own folder; it is version 1 then.

Anything that cannot be read or has a wrong name is left out and noted; nothing there raises an error.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from smalti.printable import printable
from smalti.runtime.families import GRAPHS
from smalti.runtime.manifest import LARGEST_VERSION, MANIFEST
from smalti.runtime.names import fault_of_name

_NO_FILE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")  # files beside the models are README.md or LICENSE
_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_ONNX = ".onnx"
_USUAL = "model.onnx"  # as in Triton's repositories


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


def folder_of(root: Path, name: str, version: int) -> Path:
    """The folder with the files of a version."""
    folder = root / name / str(version)
    return root / name if version == 1 and not os.path.lexists(folder) else folder


def onnx_file_of(folder: Path) -> str:
    """The ONNX file that a folder without a manifest serves.

    That is model.onnx, or else the only ONNX file. Raises ValueError, with the reason, if there is no such file.
    """
    names = sorted(name for name in os.listdir(folder) if name.endswith(_ONNX) and not name.startswith("."))
    if _USUAL in names:
        return _USUAL
    if not names or any(
        name.removesuffix(_ONNX) in GRAPHS for name in names
    ):  # or a copy of an export begins
        raise ValueError(f"has no {MANIFEST}, or not yet")
    if len(names) > 1:
        raise ValueError(f"has {len(names)} ONNX files and no {MANIFEST}: call the one to serve {_USUAL}")
    return names[0]


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
        entries = list(self._entries(folder))
        if _is_version_itself(entries):
            return (1,) if self._has_onnx_file(folder, place=folder / "1") else ()
        self._leave_out_strays(folder, [entry for entry in entries if not _is_named_as_version(entry)])
        return tuple(sorted(int(entry.name) for entry in entries if self._is_version(entry)))

    def _is_model(self, entry: Path) -> bool:
        if not self._is_folder(entry, expected=_NO_FILE.fullmatch(entry.name) is not None):
            return False
        fault = fault_of_name(entry.name)
        return not fault or self._leave_out(entry, f"is not a model: {fault}")

    def _is_version(self, entry: Path) -> bool:
        if not _is_named_as_version(entry):
            return False
        return self._is_folder(entry, expected=True) and self._has_manifest(entry)

    def _leave_out_strays(self, folder: Path, entries: Iterable[Path]) -> None:
        """Note the folders that have no version's name, in one sentence: a link may lead to a folder with many."""
        strays = [entry for entry in entries if _may_be_folder(entry)]
        versions = f"versions are folders named 1, 2, 3, up to {LARGEST_VERSION}"
        if len(strays) == 1:
            self._leave_out(strays[0], f"is not a version: {versions}")
        elif strays:
            named = printable(strays[0].name)
            self._leave_out(
                folder, f"has {len(strays)} entries that are not versions, such as {named}: {versions}"
            )

    def _has_manifest(self, folder: Path) -> bool:
        try:
            mode = (folder / MANIFEST).stat().st_mode
        except FileNotFoundError:
            return self._has_onnx_file(folder, place=folder)
        except OSError as error:
            return self._leave_out(folder / MANIFEST, _unreadable(error))
        return stat.S_ISREG(mode) or self._leave_out(folder / MANIFEST, "is not a file")

    def _has_onnx_file(self, folder: Path, *, place: Path) -> bool:
        """Whether there is one to serve, as the version at this place."""
        try:
            return bool(onnx_file_of(folder))
        except ValueError as error:
            return self._leave_out(folder, str(error), place=place)
        except OSError as error:
            return self._leave_out(folder, _unreadable(error), place=place)

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

    def _leave_out(self, entry: Path, reason: str, *, place: Path | None = None) -> bool:
        """Note why this entry, the version at this place if it is one, is not served; always False."""
        sentence = f"{self._below(entry) or 'The model repository'} {reason}."
        self.left_out.append(LeftOut(self._below(place or entry), sentence))
        return False

    def _below(self, path: Path) -> str:
        """The path below the repository's folder, empty for that folder itself."""
        return "" if path == self._root else printable(path.relative_to(self._root).as_posix())


def _is_version_itself(entries: Iterable[Path]) -> bool:
    """Whether these are the files of an only version, not folders of versions."""
    names = [entry.name for entry in entries]
    return any(name.endswith(_ONNX) for name in names) and not any(map(_VERSION.fullmatch, names))


def _is_named_as_version(entry: Path) -> bool:
    return _VERSION.fullmatch(entry.name) is not None and int(entry.name) <= LARGEST_VERSION


def _may_be_folder(entry: Path) -> bool:
    """Whether this is a folder, or cannot be read."""
    try:
        return stat.S_ISDIR(entry.stat().st_mode)
    except OSError:
        return True


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror}"
