"""Writes files completely or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from smalti.errors import InvalidRequest


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, and create its folder if needed; an old file stays until the new one is complete.

    A device or pipe is written to directly. Raises InvalidRequest if writing fails; then no part of it stays.
    """
    with writing_whole(path) as file:
        file.write(data)


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """The same for a file that is written bit by bit: it is complete when the block ends."""
    target = _prepared(path)
    try:
        with target.open("wb") if is_special(target) else _replacing(target) as file:
            yield file
    except OSError as error:
        raise unwritable(path, error) from error


def _prepared(path: Path) -> Path:
    """The place itself, in a folder that is there; a link stays a link, to the new file."""
    try:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        return target
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # a zero in a name; before Python 3.13, a circle of links
        raise unwritable(path, error) from error


def is_special(path: Path) -> bool:
    """Whether a device or pipe is there, which is written to directly."""
    return path.exists() and not path.is_file() and not path.is_dir()


def unwritable(path: Path, error: Exception) -> InvalidRequest:
    """The error for a place that cannot be written to."""
    return InvalidRequest(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.")


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    part = target.with_name(f".smalti-{secrets.token_hex(8)}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, target)
    finally:
        with suppress(OSError):  # after success it is gone already
            part.unlink()
