"""Finds the pictures in files, folders and zips, and reads those that can be read."""

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
from smalti.pictures.report import Report, Skipped, Traits, named, printable, reason_of, report_of

Content = TypeVar("Content")
_FOREIGN = frozenset(  # pictures by their names, of kinds that are not read
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

    name: str  # inside the folder or zip, with '/' between; of a file that was named, its own
    label: str  # where it is, from the path that was given; may be printed
    digest: str  # SHA-256 of its file
    traits: Traits
    content: Content


@dataclass(frozen=True, slots=True)
class Gathered(Generic[Content]):
    """All pictures that were read, in the order of their names, and what became of the others."""

    found: tuple[Found[Content], ...]
    report: Report


@dataclass(frozen=True, slots=True)
class _File:
    """What may be a picture, before it is opened."""

    name: str
    label: str
    read: Callable[[], bytes]


class FileRefused(Exception):
    """A file cannot be read; the message is what can be said of it: "is not there"."""


def gather(paths: Sequence[Path], take: Callable[[Picture], Content]) -> Gathered[Content]:
    """The pictures of files, folders and zips, each as what `take` makes of it as soon as it is read.

    In a folder or zip, what cannot be read, and what `take` refuses by ImageRefused, is skipped and named in the
    report. Raises ImageRefused for a file that was named and cannot be used, and for a path that gives no picture.
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
    """What one path gave."""

    found: list[Found[Content]]
    skipped: list[Skipped]
    others: int
    refusal: str  # why nothing was found; '' where something was


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
    """What `take` makes of the picture in a file; raises ImageRefused, which names the file."""
    try:
        return take(reader.read(read_file(path)))
    except (FileRefused, ImageRefused) as error:
        raise ImageRefused(f"{printable(str(path))} {reason_of(error)}.", field="image") from error


def place(name: str | os.PathLike[str]) -> Path:
    """The path of this name; raises ImageRefused for an empty one, which would be the folder one is in."""
    if not os.fspath(name):
        raise ImageRefused("The name of a picture is empty: write the path of its file.", field="image")
    return Path(name)


def read_file(path: Path, most: int = reader.MAX_BYTES) -> bytes:
    """A file's bytes; raises FileRefused where there are none, or more than so many."""
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
    place = printable(str(path))
    if not skipped:
        return f"{place} holds no picture (looked for {', '.join(sorted(reader.ENDINGS))})"
    reasons = named(list(map(str, skipped)))
    return reasons if skipped[0].name == place else f"{place} holds no picture that can be used: {reasons}"


def _files(path: Path) -> Iterator[_File | None]:
    """What a path stands for, by name; None for every file in it that by its name is no picture."""
    label = printable(str(path))
    if os.path.isdir(path):  # unlike Path's own methods, it raises for no name
        yield from _in_folder(path)
    elif path.suffix.lower() == ".zip" and os.path.exists(path):
        yield from _in_zip(path, label)
    else:
        yield _File(printable(path.name), label, lambda: read_file(path))


def _in_folder(folder: Path) -> Iterator[_File | None]:
    for name, refusal in sorted(_walked(folder), key=lambda entry: entry[0]):
        file = folder / name
        if refusal:
            yield _refused(name, printable(str(file)), refusal)
        else:
            yield _candidate(name, printable(str(file)), partial(_regular, file))


def _walked(folder: Path) -> Iterator[tuple[str, str]]:
    """The names of all files below a folder; and of folders that cannot be looked into, with the reason."""
    unread: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=unread.append):
        folders[:] = [name for name in folders if not _hidden(name)]
        inside = Path(place).relative_to(folder)
        for name in folders:
            if (Path(place) / name).is_symlink():
                yield (inside / name).as_posix(), "is a link to a folder, which is not followed"
        yield from (((inside / name).as_posix(), "") for name in files)
    for error in unread:
        yield Path(error.filename).relative_to(folder).as_posix(), f"cannot be looked into: {error.strerror}"


def _in_zip(path: Path, label: str) -> Iterator[_File | None]:
    try:
        with archive.opened(path) as entries:
            for entry in entries:
                yield _candidate(entry.name, printable(f"{path}/{entry.name}"), partial(_packed, entry))
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
    """What systems and editors put beside a person's files."""
    return (name.startswith(".") and name not in (".", "..")) or name == "__MACOSX"


def _refused(name: str, label: str, reason: str) -> _File:
    def read() -> bytes:
        raise FileRefused(reason)

    return _File(name, label, read)


def _regular(file: Path) -> bytes:
    if os.path.exists(file) and not os.path.isfile(file):
        raise FileRefused("is no ordinary file")
    return read_file(file)


def _packed(entry: archive.Entry) -> bytes:
    try:
        return entry.read(reader.MAX_BYTES)
    except archive.ArchiveRefused as error:
        raise FileRefused(str(error)) from error
