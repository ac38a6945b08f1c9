"""Reads tables of integers from text files, which are not trusted."""

import codecs
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smalti.pictures.finding import FileRefused, read_file
from smalti.printable import escaped
from training.errors import DataRefused

MAX_BYTES = 1 << 30  # the largest file that is read: some millions of small images


@dataclass(frozen=True, slots=True)
class Table:
    """The integers of a text file."""

    values: NDArray[np.int64]  # (lines, numbers)
    lines: list[int]  # the number of each line in the file, counted from 1


def read(file: Path) -> Table:
    """The integers of a text file, equally many on every line; raises DataRefused."""
    rows = [
        (number, line.split())
        for number, line in enumerate(_text(file).splitlines(), start=1)
        if line.strip()
    ]
    if not rows:
        raise DataRefused(f"{file} is empty.")
    expected = len(rows[0][1])
    for number, words in rows:
        if len(words) != expected:
            raise DataRefused(
                f"Line {number} of {file} has {len(words)} numbers and the first line {expected}."
            )
    values = np.array([_integers(file, number, words) for number, words in rows])
    return Table(values, [number for number, _ in rows])


def _integers(file: Path, number: int, words: list[str]) -> NDArray[np.int64]:
    try:
        return np.array(words, dtype=np.int64)
    except (ValueError, OverflowError) as error:
        word = next((word for word in words if not word.lstrip("+-").isdecimal()), max(words, key=len))
        raise DataRefused(
            f"Line {number} of {file} cannot be read as integers with spaces between: '{escaped(word[:20])}'."
        ) from error


def _text(file: Path) -> str:
    """A text file's content, in UTF-8, or in UTF-16 as Windows' shell writes it; raises DataRefused."""
    try:
        data = read_file(file, MAX_BYTES)
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig")
    except FileRefused as error:
        raise DataRefused(f"{file} {error}.") from error
    except UnicodeDecodeError as error:
        raise DataRefused(f"{file} is not text in UTF-8 or UTF-16.") from error
