"""Reads arrays from .npz files, which are not trusted."""

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.pictures import archive
from training.errors import DataRefused

MAX_BYTES = 1 << 30  # the largest array that is read
_BROKEN = (  # what numpy raises for damaged arrays
    ValueError,
    EOFError,
    OSError,
    SyntaxError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    struct.error,
)


def read(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays with these names; raises DataRefused. Python objects are never read: they could run code."""
    try:
        with archive.opened(path) as entries:
            files = {entry.name: entry for entry in entries}
            missing = [part for part in names if f"{part}.npy" not in files]
            if missing:
                raise DataRefused(f"{path} lacks one of the arrays {', '.join(names)}: {missing[0]}.")
            return {part: _array(path, files[f"{part}.npy"], part) for part in names}
    except archive.ArchiveRefused as error:
        raise DataRefused(f"{path} cannot be read as an .npz file: it {error}.") from error


def _array(path: Path, entry: archive.Entry, part: str) -> NDArray[Any]:
    try:
        content = entry.read(MAX_BYTES)
        return np.asarray(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))
    except archive.ArchiveRefused as error:
        raise DataRefused(f"The array {part} of {path} {error}.") from error
    except _BROKEN as error:
        raise DataRefused(
            f"The array {part} of {path} is damaged, or contains objects instead of numbers."
        ) from error
