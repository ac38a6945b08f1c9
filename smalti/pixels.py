"""Pixels as bytes: raster order, one byte each, or two (little-endian) where the palette has over 256 colours."""

import struct
from collections.abc import Sequence

_COLOURS_OF_ONE_BYTE = 256
_TYPES = {1: "B", 2: "H"}  # struct's names


def bytes_per_pixel(colours: int) -> int:
    """How many bytes store one pixel of a palette of so many colours."""
    return 1 if colours <= _COLOURS_OF_ONE_BYTE else 2


def pack(pixels: Sequence[int], colours: int) -> bytes:
    """The bytes of these pixels."""
    return struct.pack(f"<{len(pixels)}{_TYPES[bytes_per_pixel(colours)]}", *pixels)


def unpack(packed: bytes, colours: int) -> tuple[int, ...]:
    """The pixels in these bytes."""
    size = bytes_per_pixel(colours)
    return struct.unpack(f"<{len(packed) // size}{_TYPES[size]}", packed)


def number_type(colours: int) -> str:
    """numpy's name for a pixel's type, for users of numpy: `numpy.frombuffer(packed, number_type(colours))`."""
    return f"<u{bytes_per_pixel(colours)}"
