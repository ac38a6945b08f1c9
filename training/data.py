"""Prepares images for training: pixels of one palette, in three parts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalti import palette as colours
from smalti import repository
from training import provenance, quantise, sources, splits
from training.errors import DataRefused
from training.recipe import DataRecipe
from training.sources import Indexed, Pictures, Pixels


@dataclass(frozen=True, slots=True)
class ImageSet:
    """The images of a training, as palette indices (images, height, width)."""

    about: repository.Data
    palette: tuple[str, ...]  # '#rrggbb', in the order of the indices
    train: Pixels
    valid: Pixels  # chooses when to stop, and nothing else
    test: Pixels  # looked at once, at the end

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


def load(path: Path | None, recipe: DataRecipe) -> ImageSet:
    """The images at a path, the digits where it is None; raises DataRefused."""
    found = sources.read(path, size=recipe.size, background=recipe.background)
    if isinstance(found, Pictures):
        split, pixels, palette = _quantised(found, recipe)
    else:
        split, pixels, palette = _split_indexed(found), found.pixels, found.palette
    if min(pixels.shape[1:]) < 2 or len(palette) > 256:
        raise DataRefused("Images need 2 rows and columns or more, and a palette of 256 colours or fewer.")
    return ImageSet(
        about=_about(found.origin, recipe, images=len(pixels)),
        palette=colours.spell(palette),
        train=pixels[split.train],
        valid=pixels[split.valid],
        test=pixels[split.test],
    )


def _quantised(
    pictures: Pictures, recipe: DataRecipe
) -> tuple[splits.Split, Pixels, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """The palette is made of the training images alone; the others take its nearest colours."""
    split = splits.by_groups(pictures.rgb, pictures.opaque)
    palette = quantise.find_palette(
        pictures.rgb[split.train], background=recipe.background, colours=recipe.colours, seed=0
    )
    return split, colours.nearest(pictures.rgb, palette).pixels, palette


def _split_indexed(images: Indexed) -> splits.Split:
    return splits.by_lengths(*images.parts) if images.parts else splits.by_lecture(len(images.pixels))


def _about(origin: sources.Origin, recipe: DataRecipe, *, images: int) -> repository.Data:
    known = provenance.KNOWN.get(origin.digest, provenance.UNKNOWN)
    return repository.Data(
        name=origin.name,
        source=recipe.source or known.source,
        licence=recipe.licence or known.licence,
        digest=origin.digest,
        images=images,
    )
