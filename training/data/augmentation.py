"""Changes training images at random, so that a network sees more variety; figures are measured on originals."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smalti import palette as colour_tables

TRANSLATION = 1 / 8  # how far an image is moved at most, as a share of the side
RECOLOURING = (
    0.2  # of the paper's strength: at full strength, generated backgrounds strayed from the palette's colour
)
CUTOUT = 0.4  # side of the covered square, as a share of the image's side


def mirrored(pixels: Tensor, part: float) -> Tensor:
    """The images (batch, height, width), a random share `part` of them mirrored left to right."""
    if not part:
        return pixels
    chosen = torch.rand(len(pixels)).to(pixels.device) < part
    return torch.where(chosen[:, None, None], pixels.flip(2), pixels)


def recolourings(palette: Sequence[str], keep: int, count: int = 24) -> Tensor:
    """Tables of new colours for the palette's colours, as indices: (count, colours).

    Each table turns all hues by one angle. The angles divide the circle of CIELAB hues evenly; the first is 0. The
    colour at index `keep`, the background, stays.
    """
    lab = colour_tables.to_lab(colour_tables.parse(palette))
    turned = np.stack([_turned(lab, 2 * np.pi * step / count) for step in range(count)])
    distances = np.linalg.norm(turned[:, :, None] - lab, axis=-1)  # (count, colours, colours)
    tables = distances.argmin(axis=-1)
    tables[:, keep] = keep
    return torch.from_numpy(tables)


def _turned(lab: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    cosine, sine = np.cos(angle), np.sin(angle)
    lightness, a, b = lab.T
    return np.stack([lightness, cosine * a - sine * b, sine * a + cosine * b], axis=1)


def recoloured(pixels: Tensor, tables: Tensor, part: float) -> Tensor:
    """The images (batch, height, width), a random share `part` of them recoloured by a random table each."""
    if not part:
        return pixels
    chosen = torch.randint(len(tables), (len(pixels),)) * (torch.rand(len(pixels)) < part)
    return tables[chosen.to(pixels.device)[:, None, None], pixels]


def differentiably(colours: Tensor) -> Tensor:
    """Recolour, move and partly cover the images (batch, 3, height, width) at random; gradients pass through.

    Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020: the discriminator sees
    real and generated images only after this, so that it cannot memorise a few hundred images.
    """
    return _covered(_moved(_recoloured(colours)))


def _recoloured(colours: Tensor) -> Tensor:
    brightness, saturation, contrast = (_chance(colours)[:, None, None, None] for _ in range(3))
    colours = colours + RECOLOURING * (brightness - 0.5)
    grey = colours.mean(dim=1, keepdim=True)
    colours = (colours - grey) * (1 + RECOLOURING * (2 * saturation - 1)) + grey
    middle = colours.mean(dim=(1, 2, 3), keepdim=True)
    return (colours - middle) * (1 + RECOLOURING * (contrast - 0.5)) + middle


def _moved(colours: Tensor) -> Tensor:
    """Move images by whole pixels; the border is repeated, so that a plain background stays plain."""
    batch, _, height, width = colours.shape
    rows, columns = _shifted(colours, height), _shifted(colours, width)  # (batch, height), (batch, width)
    images = torch.arange(batch, device=colours.device)[:, None, None]
    return colours.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _shifted(colours: Tensor, side: int) -> Tensor:
    """The old position of each new position along a side, for every image: (batch, side)."""
    farthest = round(side * TRANSLATION)
    shift = (_chance(colours) * (2 * farthest + 1)).long() - farthest
    return (torch.arange(side, device=colours.device) + shift[:, None]).clamp(0, side - 1)


def _covered(colours: Tensor) -> Tensor:
    """Cover a random square of each image, which may be partly outside, with grey."""
    rows, columns = (_within(colours, side) for side in colours.shape[2:])
    return colours.masked_fill((rows[:, None, :, None] & columns[:, None, None, :]), 0.0)


def _within(colours: Tensor, side: int) -> Tensor:
    length = round(side * CUTOUT)
    start = (_chance(colours) * (side + length)).long()[:, None] - length
    positions = torch.arange(side, device=colours.device)
    return (positions >= start) & (positions < start + length)


def _chance(colours: Tensor) -> Tensor:
    """One uniform number for each image."""
    return torch.rand(len(colours)).to(colours)
