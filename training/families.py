"""Which task trains which family; each is imported when it is asked for."""

from importlib import import_module
from typing import cast

import torch

from training.data import ImageSet
from training.recipe import Recipe
from training.task import MakeTask, Task

# family: module with a function `task(recipe, images, device) -> Task`
MODULES = {
    "pixel_rnn": "training.pixel_rnn",
    "vae": "training.vae",
    "autoencoder": "training.vae",
    "gan": "training.gan",
}


def make_task(recipe: Recipe, images: ImageSet, device: torch.device) -> Task:
    """The task of the recipe's family; raises RecipeRefused for options that the family does not know."""
    make = cast(MakeTask, import_module(MODULES[recipe.family]).task)
    return make(recipe, images, device)
