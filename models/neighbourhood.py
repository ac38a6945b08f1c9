"""The pixels around a pixel that the diagonal PixelRNN reads, in a whole image or in the recent rows."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

REACH = 3  # of the window: rows above, columns to either side
Offset = tuple[int, int]  # (rows, columns) from the pixel
LEFT: tuple[Offset, ...] = tuple((0, -back) for back in range(1, REACH + 1))
ABOVE: tuple[Offset, ...] = tuple(
    (-up, across) for up in range(REACH, 0, -1) for across in range(-REACH, REACH + 1)
)
COPIED_LEFT: tuple[Offset, ...] = LEFT[:2]
COPIED_ABOVE: tuple[Offset, ...] = ((-1, -1), (-1, 0), (-1, 1), (-2, 0))


def neighbours(pixels: Tensor, offsets: Sequence[Offset], outside: int) -> Tensor:
    """The pixels at these offsets from each: (batch, height, width) → (batch, height, width, offsets)."""
    height, width = pixels.shape[1:]
    padded = padded_image(pixels, outside)
    return torch.stack(
        [
            padded[:, REACH + down : REACH + down + height, REACH + across : REACH + across + width]
            for down, across in offsets
        ],
        dim=-1,
    )


def padded_image(pixels: Tensor, outside: int) -> Tensor:
    """Images padded above and at both sides: (batch, height, width) → (batch, height + 3, width + 6)."""
    return F.pad(pixels, (REACH, REACH, REACH, 0), value=outside)


def places_above(width: int, offsets: Sequence[Offset]) -> Tensor:
    """Indices of each column's neighbours in the padded, flattened recent rows: (width, offsets)."""
    padded = width + 2 * REACH
    return torch.tensor(
        [
            [(REACH + down) * padded + REACH + column + across for down, across in offsets]
            for column in range(width)
        ]
    )


def take(values: Tensor, places: Tensor) -> Tensor:
    """`values[:, places]`: (batch, size) at places (a, b) → (batch, a, b)."""
    return values.index_select(1, places.flatten()).reshape(-1, *places.shape)
