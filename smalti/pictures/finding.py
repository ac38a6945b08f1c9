"""Finds pictures in files, folders and zips, and reads those that can be read."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from smalti.errors import ImageRefused
from smalti.pictures import archive, reader
from smalti.pictures.reader import Picture
from smalti.pictures.report import Report, Skipped, Traits, named, reason_of, report_of
from smalti.printable import escaped

Content = TypeVar("Content")
_FOREIGN = frozenset(  # names of pictures of kinds that are not read
    {
        ".avif",
        ".heic",
        ".heif",
        ".svg",
        ".jxl",
        ".jp2",
        ".psd",
        ".xcf",
        ".ico",
        ".tga",
        ".eps",
        ".aseprite",
    }
)


@dataclass(frozen=True, slots=True)
class Found(Generic[Content]):
    """One picture that was read."""

    name: str  # its path inside the folder or zip, with '/'; for a single file, its own name
    label: str  # its path as the user gave it, safe to print
    digest: str  # SHA-256 of the file
    traits: Traits
    content: Content


@dataclass(frozen=True, slots=True)
class Gathered(Generic[Content]):
    """All pictures that were read, ordered by name, and a report on the others."""

    found: tuple[Found[Content], ...]
    report: Report


@dataclass(frozen=True, slots=True)
class _File:
    """A file that may be a picture, not opened yet."""

    name: str
    label: str
    read: Callable[[], bytes]


class FileRefused(Exception):
    """A file cannot be read; the message follows its name: "is not there"."""


def gather(paths: Sequence[Path], take: Callable[[Picture], Content]) -> Gathered[Content]:
    """The pictures in files, folders and zips. Each is given to `take` as soon as it is read, and its result is kept.

    In a folder or zip, a picture that cannot be read, or that `take` refuses with ImageRefused, is skipped and named in
    the report. Raises ImageRefused for a named file that cannot be used, and for a path without any picture.
    """
    parts = [_part(path, take) for path in paths]
    refusals = [part.refusal for part in parts if part.refusal]
    if refusals:
        raise ImageRefused(f"{named(refusals)}.", field="image")
    found = tuple(each for part in parts for each in part.found)
    skipped = [each for part in parts for each in part.skipped]
    others = sum(part.others for part in parts)
    return Gathered(found, report_of([each.traits for each in found], skipped, others=others))


@dataclass(frozen=True, slots=True)
class _Part(Generic[Content]):
    """The result for one path."""

    found: list[Found[Content]]
    skipped: list[Skipped]
    others: int
    refusal: str  # why nothing was found; empty if something was


def _part(path: Path, take: Callable[[Picture], Content]) -> _Part[Content]:
    found: list[Found[Content]] = []
    skipped: list[Skipped] = []
    others = 0
    for file in _files(path):
        if file is None:
            others += 1
            continue
        try:
            found.append(_found(file, take))
        except (FileRefused, ImageRefused) as error:
            skipped.append(Skipped(name=file.label, reason=reason_of(error)))
    return _Part(found, skipped, others, "" if found else _nothing(path, skipped))


def take_picture(path: Path, take: Callable[[Picture], Content]) -> Content:
    """The result of `take` for the picture in a file; raises ImageRefused, which names the file."""
    try:
        return take(reader.read(read_file(path)))
    except (FileRefused, ImageRefused) as error:
        raise ImageRefused(f"{escaped(str(path))} {reason_of(error)}.", field="image") from error


def place(name: str | os.PathLike[str]) -> Path:
    """The path with this name; raises ImageRefused for an empty name, which would mean the current folder."""
    if not os.fspath(name):
        raise ImageRefused("The name of a picture is empty: write the path of its file.", field="image")
    return Path(name)


def read_file(path: Path, most: int = reader.MAX_BYTES) -> bytes:
    """A file's bytes; raises FileRefused if it cannot be read or has more than `most`."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError as error:
        raise FileRefused("is a link to nothing" if os.path.islink(path) else "is not there") from error
    except (OSError, ValueError) as error:
        raise FileRefused(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > most:
        raise FileRefused(f"has more than {most >> 20} MiB")
    return data


def _found(file: _File, take: Callable[[Picture], Content]) -> Found[Content]:
    data = file.read()
    picture = reader.read(data)
    return Found(file.name, file.label, hashlib.sha256(data).hexdigest(), picture.traits, take(picture))


def _nothing(path: Path, skipped: Sequence[Skipped]) -> str:
    place = escaped(str(path))
    if not skipped:
        return f"{place} holds no picture (looked for {', '.join(sorted(reader.ENDINGS))})"
    reasons = named(list(map(str, skipped)))
    return reasons if skipped[0].name == place else f"{place} holds no picture that can be used: {reasons}"


def _files(path: Path) -> Iterator[_File | None]:
    """The files that a path stands for, ordered by name; None for each file without the name of a picture."""
    label = escaped(str(path))
    if os.path.isdir(path):  # unlike Path's methods, it never raises
        yield from _in_folder(path)
    elif path.suffix.lower() == ".zip" and os.path.exists(path):
        yield from _in_zip(path, label)
    else:
        yield _File(escaped(path.name), label, lambda: read_file(path))


def _in_folder(folder: Path) -> Iterator[_File | None]:
    for name, refusal in sorted(_walked(folder), key=lambda entry: entry[0]):
        file = folder / name
        if refusal:
            yield _refused(name, escaped(str(file)), refusal)
        else:
            yield _candidate(name, escaped(str(file)), partial(_regular, file))


def _walked(folder: Path) -> Iterator[tuple[str, str]]:
    """The names of all files below a folder; also of folders that cannot be read, with the reason."""
    unread: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=unread.append):
        folders[:] = [name for name in folders if not _hidden(name)]
        inside = Path(place).relative_to(folder)
        for name in folders:
            if (Path(place) / name).is_symlink():
                yield (inside / name).as_posix(), "is a link to a folder, which is not followed"
        yield from (((inside / name).as_posix(), "") for name in files)
    for error in unread:
        yield Path(error.filename).relative_to(folder).as_posix(), f"cannot be opened: {error.strerror}"


def _in_zip(path: Path, label: str) -> Iterator[_File | None]:
    try:
        with archive.opened(path) as entries:
            for entry in entries:
                yield _candidate(entry.name, escaped(f"{path}/{entry.name}"), partial(_packed, entry))
    except archive.ArchiveRefused as error:
        yield _refused(path.name, label, str(error))


def _candidate(name: str, label: str, read: Callable[[], bytes]) -> _File | None:
    parts, ending = name.replace("\\", "/").split("/"), PurePosixPath(name).suffix.lower()
    if any(map(_hidden, parts)) or ending not in reader.ENDINGS | _FOREIGN:
        return None
    if ending in _FOREIGN:
        return _refused(name, label, reader.OF_NO_KIND)
    return _File(name, label, read)


def _hidden(name: str) -> bool:
    """Whether it is a name that systems and editors give to files of their own."""
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def _refused(name: str, label: str, reason: str) -> _File:
    def read() -> bytes:
        raise FileRefused(reason)

    return _File(name, label, read)


def _regular(file: Path) -> bytes:
    if os.path.exists(file) and not os.path.isfile(file):
        raise FileRefused("is not an ordinary file")
    return read_file(file)


def _packed(entry: archive.Entry) -> bytes:
    try:
        return entry.read(reader.MAX_BYTES)
    except archive.ArchiveRefused as error:
        raise FileRefused(str(error)) from error
