"""The kept pixels of one sample as few bytes, for jobs in which each sample has its own."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from smalti.pixels import number_type

NOTHING = -1  # a pixel that is drawn


class Unpackable(ValueError):
    """These bytes are not kept pixels of such an image."""


def packed(kept: bytes, colours: int) -> bytes:
    """JobRequest.kept in the form that the queue keeps: a bit for each pixel, then the pixels that are kept."""
    pixels = np.frombuffer(kept, "<i4")
    is_kept = pixels != NOTHING
    values = pixels[is_kept].astype(number_type(colours))
    return bytes(np.packbits(is_kept).tobytes() + values.tobytes())


def unpacked(data: bytes, *, pixels: int, colours: int) -> bytes:
    """What `packed` packed; raises Unpackable."""
    bits, kind = -(-pixels // 8), np.dtype(number_type(colours))
    is_kept = np.unpackbits(np.frombuffer(data[:bits], "u1"))[:pixels].astype(bool)
    if len(is_kept) != pixels or len(data) != bits + is_kept.sum() * kind.itemsize:
        raise Unpackable(f"{len(data)} bytes are not the kept pixels of an image of {pixels} pixels")
    found = np.full(pixels, NOTHING, "<i4")
    found[is_kept] = np.frombuffer(data[bits:], kind)
    return found.tobytes()


def most_bytes(pixels: int, colours: int) -> int:
    """The most bytes that the kept pixels of such an image take when they are packed."""
    return -(-pixels // 8) + pixels * np.dtype(number_type(colours)).itemsize


def hash_of(every: Sequence[bytes]) -> str:
    """Equal kept pixels, packed and in the same order, have equal hashes."""
    hashed = sha256()
    for data in every:
        hashed.update(len(data).to_bytes(8))
        hashed.update(data)
    return hashed.hexdigest()
