"""Prepares images for training: pixels of one palette, in three parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smalti import palette as colours
from smalti.pictures.report import EMPTY, Report
from smalti.runtime.manifest import Data
from training.data import duplicates, provenance, sources, splits
from training.data import palettes as quantise
from training.data.sources import Indexed, Pictures, Pixels
from training.errors import DataRefused
from training.recipe import DataRecipe

Colours = NDArray[np.uint8]  # (colours, 3)


@dataclass(frozen=True, slots=True)
class ImageSet:
    """The images of a training, as palette indices (images, height, width)."""

    about: Data
    palette: tuple[str, ...]  # '#rrggbb', in the order of the indices
    train: Pixels
    valid: Pixels  # chooses when to stop, and nothing else
    test: Pixels  # looked at once, at the end
    test_groups: splits.Indices | None = None  # near-duplicates share a number; None: no image has any
    report: Report = EMPTY  # what became of the files that were read
    indexed: bool = False  # they came with their own size and palette

    @property
    def height(self) -> int:
        """Rows of an image."""
        return int(self.train.shape[1])

    @property
    def width(self) -> int:
        """Columns of an image."""
        return int(self.train.shape[2])

    @property
    def colours(self) -> int:
        """How many colours the palette has."""
        return len(self.palette)


def load(path: Path | None, recipe: DataRecipe, *, palette: Sequence[str] | None = None) -> ImageSet:
    """The images at a path, the digits where it is None; raises DataRefused.

    Colours become those of the palette; without one, it is found for the training images.
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
    """Images that were read, in three parts; `together` are their `groups`. Raises DataRefused."""
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
    """The near-duplicates among all images: those of one number; None for data that bring their own three parts.

    Raises DataRefused for images that nothing can be trained on.
    """
    if isinstance(found, Pictures):
        splits.refuse_few(len(found.rgb))
        return duplicates.groups(found.rgb, found.opaque)
    if min(found.pixels.shape[1:]) < 2 or len(found.palette) > 256:
        raise DataRefused("Images need 2 rows and columns or more, and a palette of 256 colours or fewer.")
    if found.parts:
        return None
    painted = colours.paint(found.pixels, found.palette)
    return duplicates.groups(painted, np.ones(found.pixels.shape, dtype=np.bool_))


def _quantised(
    pictures: Pictures, split: splits.Split, recipe: DataRecipe, palette: Colours | None
) -> tuple[Pixels, Colours]:
    """A palette is made of the training images alone; the others take its nearest colours."""
    if palette is None:
        train = pictures.rgb[split.train]
        palette = quantise.find_palette(train, background=recipe.background, colours=recipe.colours, seed=0)
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
