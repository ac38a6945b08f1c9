"""Describes a training before it starts: what was read, how it was fitted and divided, where the output goes."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from training.errors import DataRefused
from training.images import ImageSet
from training.recipe import Recipe


def paragraph(images: ImageSet, recipe: Recipe, folder: Path, *, dropped: Sequence[int] = ()) -> str:
    """A line that names the model, then a paragraph of sentences; `dropped` are generations after the end."""
    sentences = [*_sentences(images, recipe), *_dropped_sentence(dropped)]
    return "\n".join([_headline(images, recipe, folder), " ".join(sentences)])


def refuse_unused(images: ImageSet, asked: Collection[str]) -> None:
    """Raise DataRefused if a setting was asked for that has no effect, because the images bring a palette."""
    brought = {
        "size": f"size, {images.height}×{images.width}",
        "colours": f"palette of {images.colours} colours",
        "background": "palette, and nothing in it is transparent",
    }
    for key, what in brought.items():
        if images.indexed and f"data.{key}" in asked:
            raise DataRefused(f"{images.about.name} brings its own {what}: leave out --{key} (data.{key}).")


def _dropped_sentence(dropped: Sequence[int]) -> list[str]:
    steps = ", ".join(map(str, dropped))
    return [f"The generations of step {steps} are left out, because training ends before."] if dropped else []


def _headline(images: ImageSet, recipe: Recipe, folder: Path) -> str:
    return (
        f"{recipe.named(images.about.name)}: {len(images.train)} images to train, {len(images.valid)} to validate, "
        f"{len(images.test)} to test; {images.height}×{images.width}, {images.colours} colours; in {folder}"
    )


def _sentences(images: ImageSet, recipe: Recipe) -> list[str]:
    report = images.report
    found = report.sentences() if report.read else [f"Read {images.about.images} images."]
    if images.indexed:
        found.append("They bring their own size and palette, so the recipe's are not used.")
    if report.transparent:
        found.append(f"Transparent pixels were filled with {recipe.data.background}.")
    if images.test_groups is not None:
        groups = len(np.unique(images.test_groups))
        found.append(
            f"Near-duplicates stay together: the {len(images.test)} test images are {groups} groups of variants."
        )
    found.append(
        f"At most {recipe.training.steps} steps of {min(recipe.training.batch, len(images.train))} images."
    )
    return found
