"""Finds the code of a recipe's family: the tables of its options, and its task."""

from collections.abc import Callable
from importlib import import_module
from typing import cast

import torch

from training.errors import RecipeRefused
from training.families.options import NoOptions, Table
from training.families.task import MakeTask, Task
from training.images import ImageSet
from training.recipe import Recipe, options
from training.registry import FAMILIES


def tables(recipe: Recipe) -> dict[str, type[Table]]:
    """The class of each table that the recipe's family checks itself; raises RecipeRefused for an unknown variant."""
    module = import_module(FAMILIES[recipe.family].module)
    of_family = cast(Callable[[Recipe], dict[str, type[Table]]], module.tables)
    return {"loss": NoOptions} | of_family(recipe)


def check(recipe: Recipe) -> None:
    """Raise RecipeRefused for options that the family does not know, before any data is read."""
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
    make = cast(MakeTask, import_module(FAMILIES[recipe.family].module).task)
    return make(recipe, images, device)
