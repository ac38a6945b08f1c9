"""Maps colours to the pixels of a palette and back. A colour outside the palette becomes the nearest in it.

Distances are Euclidean in CIELAB (CIE 1976, white D65), where equal distances look about equally large.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.errors import InvalidRequest

_TO_XYZ = np.array(  # linear sRGB → XYZ, IEC 61966-2-1
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_CHUNK = 1 << 14  # colours compared with the palette at once; limits the size of the distance table


@dataclass(frozen=True, slots=True)
class Matched:
    """An image's pixels in a palette, and how far its colours moved."""

    pixels: NDArray[np.int64]  # (…,) the shape of the image without its colour axis
    moved: int  # pixels whose colour was not in the palette
    largest_distance: float  # CIELAB distance of the colour that moved furthest


def parse(colours: Sequence[str]) -> NDArray[np.uint8]:
    """The colours '#rrggbb' as (colours, 3) uint8; raises InvalidRequest for another spelling."""
    return np.array([_parse_one(colour) for colour in colours], dtype=np.uint8).reshape(-1, 3)


def spell(colours: NDArray[np.uint8]) -> tuple[str, ...]:
    """(colours, 3) uint8 as '#rrggbb' strings."""
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colours.tolist())


def paint(pixels: NDArray[np.integer], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (…) as colours (…, 3)."""
    return np.asarray(palette[pixels])


def to_lab(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """sRGB colours (…, 3) uint8 in CIELAB (…, 3): L in 0 … 100, a and b about −128 … 128."""
    encoded = colours.astype(np.float64) / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    relative = linear @ _TO_XYZ.T / _WHITE
    root = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def from_lab(lab: NDArray[np.float64]) -> NDArray[np.uint8]:
    """CIELAB colours (…, 3) as sRGB (…, 3) uint8, clipped to the range of sRGB."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    root = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    relative = np.where(root > 6 / 29, root**3, 3 * (6 / 29) ** 2 * (root - 4 / 29))
    linear = np.clip(relative * _WHITE @ np.linalg.inv(_TO_XYZ).T, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(encoded * 255), dtype=np.uint8)


def nearest(image: NDArray[np.uint8], palette: NDArray[np.uint8]) -> Matched:
    """The image (…, 3) in the palette (colours, 3): each colour becomes the nearest one; the first of equals."""
    colours, where = np.unique(image.reshape(-1, 3), axis=0, return_inverse=True)
    indices, distances = _closest(colours, palette)
    exact = (palette[indices] == colours).all(axis=1)
    flat = where.reshape(-1)
    return Matched(
        pixels=indices[flat].reshape(image.shape[:-1]),
        moved=int((~exact)[flat].sum()),
        largest_distance=float(distances.max(initial=0.0)),
    )


def _closest(
    colours: NDArray[np.uint8], palette: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    table = to_lab(palette)
    indices = np.empty(len(colours), dtype=np.int64)
    distances = np.empty(len(colours))
    for start in range(0, len(colours), _CHUNK):
        part = slice(start, start + _CHUNK)
        apart = np.linalg.norm(to_lab(colours[part])[:, None] - table, axis=-1)
        indices[part] = apart.argmin(axis=1)
        distances[part] = apart.min(axis=1)
    return indices, distances


def _parse_one(colour: str) -> list[int]:
    digits = colour.removeprefix("#")
    if len(colour) != 7 or len(digits) != 6 or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise InvalidRequest(f"'{colour}' is not a colour: write it as '#rrggbb'.", field="palette")
    return list(bytes.fromhex(digits))
