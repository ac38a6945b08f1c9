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
_PLACES = np.array([1 << 16, 1 << 8, 1], dtype=np.int32)  # of red, green and blue in a number
_LEVELS = np.arange(256) / 255.0
_LINEAR = np.where(
    _LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4
)  # by level of a channel
_CHUNK = 1 << 12  # colours compared with the palette at once; limits the size of the distance table
_CLOSE = 1e-6  # far more than the rounding error of a squared distance in CIELAB


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
    relative = _LINEAR[colours] @ _TO_XYZ.T / _WHITE
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
    packed, where = np.unique(_packed(image), return_inverse=True)
    colours = (packed[:, None] // _PLACES % 256).astype(np.uint8)
    indices, distances = _closest(colours, palette)
    exact = (palette[indices] == colours).all(axis=1)
    flat = where.reshape(-1)
    return Matched(
        pixels=indices[flat].reshape(image.shape[:-1]),
        moved=int((~exact)[flat].sum()),
        largest_distance=float(distances.max(initial=0.0)),
    )


def _packed(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Colours (…, 3) as one number each, which numpy sorts far faster than three: (n,)."""
    return np.asarray(colours.reshape(-1, 3).astype(np.int32) @ _PLACES)


def _closest(
    colours: NDArray[np.uint8], palette: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    _, first = np.unique(_packed(palette), return_index=True)  # of equals, the first
    first.sort()
    lab, table = to_lab(colours), to_lab(palette[first])
    parts = [_nearest_in(table, lab[start : start + _CHUNK]) for start in range(0, len(lab), _CHUNK)]
    nearest = np.concatenate([np.empty(0, dtype=np.int64), *parts])
    return first[nearest], np.linalg.norm(lab - table[nearest], axis=-1)


def _nearest_in(table: NDArray[np.float64], lab: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which of the table (colours, 3) is nearest to each of lab (n, 3).

    |b|² - 2ab orders distances as |a - b| does and takes one product of matrices, but it rounds: where two are about
    as near, the distances themselves are compared.
    """
    order = (table**2).sum(axis=1) - 2 * lab @ table.T  # (n, colours)
    close = order <= order.min(axis=1, keepdims=True) + _CLOSE
    nearest: NDArray[np.int64] = close.argmax(axis=1)
    unsure = np.flatnonzero(np.count_nonzero(close, axis=1) > 1)
    nearest[unsure] = np.linalg.norm(lab[unsure, None] - table, axis=-1).argmin(axis=1)
    return nearest


def _parse_one(colour: str) -> list[int]:
    digits = colour.removeprefix("#")
    if len(colour) != 7 or len(digits) != 6 or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise InvalidRequest(f"'{colour}' is not a colour: write it as '#rrggbb'.", field="palette")
    return list(bytes.fromhex(digits))
