"""Says what a training is about to do: what was read, how it was made to fit, how it was divided, where it goes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from training.data import ImageSet
from training.errors import DataRefused
from training.recipe import Recipe


def paragraph(images: ImageSet, recipe: Recipe, folder: Path) -> str:
    """The line that names the model, then a paragraph of plain sentences."""
    return "\n".join([_headline(images, recipe, folder), " ".join(_sentences(images, recipe))])


def refuse_unheeded(images: ImageSet, asked: Mapping[str, int | None]) -> None:
    """Raise DataRefused where a size or number of colours was asked for that these images do not take."""
    size, colours = asked["size"], asked["colours"]
    if size is not None and (images.height, images.width) != (size, size):
        raise DataRefused(
            f"{images.about.name} brings its own size, {images.height}×{images.width}: leave --size out."
        )
    if colours is not None and images.colours > colours:
        raise DataRefused(
            f"{images.about.name} brings its own palette of {images.colours} colours: leave --colours out."
        )


def _headline(images: ImageSet, recipe: Recipe, folder: Path) -> str:
    return (
        f"{recipe.named(images.about.name)}: {len(images.train)} images to train, {len(images.valid)} to validate, "
        f"{len(images.test)} to test; {images.height}×{images.width}, {images.colours} colours; in {folder}"
    )


def _sentences(images: ImageSet, recipe: Recipe) -> list[str]:
    report = images.report
    told = report.sentences() if report.read else [f"Read {images.about.images} images."]
    if report.transparent:
        told.append(f"What is transparent was filled with {recipe.data.background}.")
    if images.test_groups is not None:
        groups = len(np.unique(images.test_groups))
        told.append(
            f"Near-duplicates stay together: the {len(images.test)} test images are {groups} groups of variants."
        )
    told.append(
        f"At most {recipe.training.steps} steps of {min(recipe.training.batch, len(images.train))} images."
    )
    return told
