"""Prepares images for training: reads them, finds their palette, divides them into three parts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smalti import palette as colours
from smalti.runtime.manifest import Data
from training.data import duplicates, palettes, provenance, sources, splits
from training.data.sources import Indexed, Pictures
from training.errors import DataRefused
from training.images import ImageSet, Pixels
from training.recipe import DataRecipe

Colours = NDArray[np.uint8]  # (colours, 3)


def load(path: Path | None, recipe: DataRecipe, *, palette: Sequence[str] | None = None) -> ImageSet:
    """The images at a path, or the digits if it is None; raises DataRefused.

    Colours become the nearest ones of the palette. If no palette is given, one is made from the training images.
    """
    found = sources.read(path, size=recipe.size, background=recipe.background)
    together = groups(found)
    return divide(found, _split(found, together), recipe, together, palette=palette)


def divide(
    found: Pictures | Indexed,
    split: splits.Split,
    recipe: DataRecipe,
    together: splits.Indices | None,
    *,
    palette: Sequence[str] | None = None,
) -> ImageSet:
    """Divide the images that were read into three parts; `together` are their `groups`. Raises DataRefused."""
    known = None if palette is None else colours.parse(palette)
    pixels, table = (
        _quantised(found, split, recipe, known) if isinstance(found, Pictures) else _indexed(found)
    )
    return ImageSet(
        about=_about(found.origin, recipe, images=len(pixels)),
        palette=colours.spell(table),
        train=pixels[split.train],
        valid=pixels[split.valid],
        test=pixels[split.test],
        test_groups=None if together is None else together[split.test],
        report=found.report,
        indexed=isinstance(found, Indexed),
    )


def groups(found: Pictures | Indexed) -> splits.Indices | None:
    """The group of every image, near-duplicates sharing one; None for data that bring their own three parts.

    Raises DataRefused if the images cannot be trained on.
    """
    if isinstance(found, Pictures):
        splits.refuse_few(len(found.rgb))
        return duplicates.groups(found.rgb, found.opaque)
    if min(found.pixels.shape[1:]) < 2 or len(found.palette) > 256:
        raise DataRefused(
            "Images must have at least 2 rows and 2 columns, and a palette of at most 256 colours."
        )
    if found.parts:
        return None
    painted = colours.paint(found.pixels, found.palette)
    return duplicates.groups(painted, np.ones(found.pixels.shape, dtype=np.bool_))


def _quantised(
    pictures: Pictures, split: splits.Split, recipe: DataRecipe, palette: Colours | None
) -> tuple[Pixels, Colours]:
    """The images in a palette that is made from the training images alone, unless one is given."""
    if palette is None:
        train = pictures.rgb[split.train]
        palette = palettes.find_palette(train, background=recipe.background, colours=recipe.colours, seed=0)
    return colours.nearest(pictures.rgb, palette).pixels, palette


def _indexed(images: Indexed) -> tuple[Pixels, Colours]:
    return images.pixels, images.palette


def _split(found: Pictures | Indexed, together: splits.Indices | None) -> splits.Split:
    if isinstance(found, Indexed):
        return splits.by_lengths(*found.parts) if found.parts else splits.by_lecture(len(found.pixels))
    assert together is not None, "pictures have groups"
    return splits.by_groups(together)


def _about(origin: sources.Origin, recipe: DataRecipe, *, images: int) -> Data:
    known = provenance.KNOWN.get(origin.digest, provenance.UNKNOWN)
    return Data(
        name=origin.name,
        source=recipe.source or known.source,
        licence=recipe.licence or known.licence,
        digest=origin.digest,
        images=images,
    )
