"""Writes files completely or not at all."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from smalti.errors import InvalidRequest


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, and create its folder if needed; an old file stays until the new one is complete.

    A device or pipe is written to directly. Raises InvalidRequest if writing fails; then no part of it stays.
    """
    try:
        target = path.resolve()  # a link stays a link, to the new file
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file() and not target.is_dir():
            target.write_bytes(data)
        else:
            _replace(target, data)
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # a zero in a name; before Python 3.13, a circle of links
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> InvalidRequest:
    """The error for a place that cannot be written to."""
    return InvalidRequest(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.")


def _replace(target: Path, data: bytes) -> None:
    part = target.with_name(f".smalti-{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(data)
        os.replace(part, target)
    finally:
        with suppress(OSError):  # after success it is gone already
            part.unlink()
