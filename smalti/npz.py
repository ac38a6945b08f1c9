"""Writes numpy's .npz files without numpy: a zip with a .npy file for each array."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

_MAGIC = b"\x93NUMPY\x01\x00"  # and the version of the format
_ALIGNMENT = 64  # of the first value in the file
_LETTERS = {"<u8": "Q", "<f8": "d"}  # struct's names


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """An array in raster order; `kind` is numpy's name for its type, such as '<u2' or '<f8'."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parts: Iterable[bytes]  # together its values


def numbers(name: str, kind: str, values: Sequence[float]) -> Array:
    """A list of numbers: '<u8' or '<f8'."""
    packed = struct.pack(f"<{len(values)}{_LETTERS[kind]}", *values)
    return Array(name=name, kind=kind, shape=(len(values),), parts=[packed])


def text(name: str, value: str) -> Array:
    """A single text."""
    value = value or "\0"  # numpy has no type for a text of no length
    return Array(name=name, kind=f"<U{len(value)}", shape=(), parts=[value.encode("utf-32-le")])


def write(file: BinaryIO, arrays: Iterable[Array]) -> None:
    """Write a compressed .npz, part by part. The same arrays give the same bytes."""
    with ZipFile(file, "w") as archive:
        for array in arrays:
            entry = ZipInfo(f"{array.name}.npy")
            entry.compress_type = ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as stream:
                stream.write(_header(array))
                for part in array.parts:
                    stream.write(part)


def _header(array: Array) -> bytes:
    described = f"{{'descr': '{array.kind}', 'fortran_order': False, 'shape': {array.shape!r}, }}".encode()
    length = len(_MAGIC) + 2 + len(described) + 1
    described += b" " * (-length % _ALIGNMENT) + b"\n"
    return _MAGIC + struct.pack("<H", len(described)) + described
