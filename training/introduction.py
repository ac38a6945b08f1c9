"""Says what a training is about to do: what was read, how it was made to fit, how it was divided, where it goes."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from training.errors import DataRefused
from training.images import ImageSet
from training.recipe import Recipe


def paragraph(images: ImageSet, recipe: Recipe, folder: Path, *, dropped: Sequence[int] = ()) -> str:
    """The line that names the model, then a paragraph of plain sentences; `dropped` are generations beyond the end."""
    sentences = [*_sentences(images, recipe), *_dropped_sentence(dropped)]
    return "\n".join([_headline(images, recipe, folder), " ".join(sentences)])


def refuse_unheeded(images: ImageSet, asked: Collection[str]) -> None:
    """Raise DataRefused where settings, by their names, were asked for that images with a palette do not take."""
    brought = {
        "size": f"size, {images.height}×{images.width}",
        "colours": f"palette of {images.colours} colours",
        "background": "palette, and nothing in it is transparent",
    }
    for key, what in brought.items():
        if images.indexed and f"data.{key}" in asked:
            raise DataRefused(f"{images.about.name} brings its own {what}: leave --{key} (data.{key}) out.")


def _dropped_sentence(dropped: Sequence[int]) -> list[str]:
    steps = ", ".join(map(str, dropped))
    return [f"The generations of step {steps} are left out: training ends before."] if dropped else []


def _headline(images: ImageSet, recipe: Recipe, folder: Path) -> str:
    return (
        f"{recipe.named(images.about.name)}: {len(images.train)} images to train, {len(images.valid)} to validate, "
        f"{len(images.test)} to test; {images.height}×{images.width}, {images.colours} colours; in {folder}"
    )


def _sentences(images: ImageSet, recipe: Recipe) -> list[str]:
    report = images.report
    told = report.sentences() if report.read else [f"Read {images.about.images} images."]
    if images.indexed:
        told.append("They bring their own size and palette, so the recipe's are not used.")
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
