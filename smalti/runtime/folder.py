"""Reads the files of a version's folder. A link that leads out of the folder is refused."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from smalti.errors import RepositoryDamaged

LARGEST_FILE = 2 * 1024**3  # bytes; ONNX's own format ends there


def content(folder: Path, file: str, *, place: str = "", largest: int = LARGEST_FILE) -> bytes:
    """The bytes of a file in the folder; raises RepositoryDamaged, which names the file by its place."""
    place = place or f"{folder.parent.name}/{folder.name}/{file}"
    with _opened(folder, file, place) as stream:
        if os.fstat(stream.fileno()).st_size > largest:
            raise RepositoryDamaged(f"{place} is larger than {largest} bytes.")
        return stream.read()


@contextmanager
def _opened(folder: Path, file: str, place: str) -> Iterator[BufferedReader]:
    """The open file; raises RepositoryDamaged unless it is a regular file inside the folder, links followed."""
    try:
        with _target(folder, file, place).open("rb") as stream:
            yield stream
    except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links is a RuntimeError
        reason = getattr(error, "strerror", None) or "its links form a loop"
        raise RepositoryDamaged(f"{place} cannot be read: {reason}.") from error


def _target(folder: Path, file: str, place: str) -> Path:
    target = (folder / file).resolve(strict=True)
    if not target.is_relative_to(folder.resolve(strict=True)):
        raise RepositoryDamaged(f"{place} is a link that leads out of its folder: put the file itself there.")
    if not stat.S_ISREG(target.stat().st_mode):  # opening a pipe would wait for ever
        raise RepositoryDamaged(f"{place} is not a file.")
    return target
