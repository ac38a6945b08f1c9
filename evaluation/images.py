"""Reads the images that a model was trained on."""

from pathlib import Path

from pydantic import ValidationError

from smalti.runtime.manifest import Manifest
from training.data import dataset
from training.errors import EvaluationRefused
from training.images import ImageSet
from training.recipe import DataRecipe


def load(manifest: Manifest, path: Path | None) -> ImageSet:
    """The images at a path (the digits if None), in the model's palette and divided as they were for its training."""
    try:
        recipe = DataRecipe.model_validate(manifest.recipe.get("data", {}))
    except ValidationError as error:
        raise EvaluationRefused(
            f"The recipe of {manifest.name} does not say how its images were prepared."
        ) from error
    return dataset.load(path, recipe, palette=manifest.palette)
