"""Which task trains which family; each is imported when it is asked for."""

from collections.abc import Callable
from importlib import import_module
from typing import cast

import torch

from training.data.dataset import ImageSet
from training.errors import RecipeRefused
from training.families.options import NoOptions, Table
from training.families.task import MakeTask, Task
from training.recipe import Recipe, options

# family: module with a function `task(recipe, images, device) -> Task`
MODULES = {
    "pixel_rnn": "training.families.pixel_rnn",
    "vae": "training.families.vae",
    "autoencoder": "training.families.vae",
    "gan": "training.families.gan",
}


def tables(recipe: Recipe) -> dict[str, type[Table]]:
    """The kinds of the tables that the recipe's family checks itself; raises RecipeRefused for an unknown variant."""
    of_family = cast(Callable[[Recipe], dict[str, type[Table]]], import_module(MODULES[recipe.family]).tables)
    return {"loss": NoOptions} | of_family(recipe)


def check(recipe: Recipe) -> None:
    """Raise RecipeRefused for options that the family does not know, before anything is read or made."""
    refused = []
    for name, kind in tables(recipe).items():
        try:
            options(kind, getattr(recipe, name), name)
        except RecipeRefused as error:
            refused.append(str(error))
    if refused:
        raise RecipeRefused(" ".join(refused))


def make_task(recipe: Recipe, images: ImageSet, device: torch.device) -> Task:
    """The task of the recipe's family; raises RecipeRefused for options that the family does not know."""
    make = cast(MakeTask, import_module(MODULES[recipe.family]).task)
    return make(recipe, images, device)
