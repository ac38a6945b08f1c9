"""Applies settings from the command line to a recipe: `--set section.key=value`, with the types of the recipe."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_origin

from pydantic import BaseModel

from training import faults
from training import recipe as recipes
from training.errors import RecipeRefused
from training.families import loading as families
from training.recipe import Recipe


def read(recipe: Recipe, given: Mapping[str, Any], written: Sequence[str]) -> dict[str, Any]:
    """The settings by name, from options and from texts `section.key=value`; raises RecipeRefused."""
    settings = {name: value for name, value in given.items() if value is not None}
    for text in written:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not name or not equals:
            lacking = "no value" if name else "no key"
            raise RecipeRefused(
                f"--set {text or repr(text)} has {lacking}: write it as section.key=value, e.g. training.steps=500."
            )
        settings[name] = _typed(recipe, name, value)
    return settings


def apply(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with these settings, and without generations after an earlier end; raises RecipeRefused."""
    changed = recipes.changed(recipe, {**_within(recipe, settings), **settings})
    families.check(changed)
    return changed


def dropped(before: Recipe, after: Recipe) -> list[int]:
    """The generations that are left out because training now ends before them, or at them."""
    kept, end = after.training.generations, after.training.steps
    return [step for step in before.training.generations if step >= end and step not in kept]


def _within(recipe: Recipe, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's generations before the end, as a setting, if the settings change the end."""
    steps = settings.get("training.steps")
    if not isinstance(steps, int):
        return {}
    return {"training.generations": tuple(each for each in recipe.training.generations if each < steps)}


def kinds(recipe: Recipe) -> dict[str, type[BaseModel]]:
    """The class of each table that a recipe of this family may have; '' is the recipe itself."""
    inner = {name: kind for name in ("data", "training") if (kind := faults.inner(Recipe, [name]))}
    return {"": Recipe, **inner, **families.tables(recipe)}


def _typed(recipe: Recipe, name: str, text: str) -> Any:
    """The value of a text for a key: as TOML, or the text itself if the key takes words or the text is not TOML."""
    section, _, key = name.rpartition(".")
    tables = kinds(recipe)
    if name in tables:
        raise RecipeRefused(
            f"--set {name}: there is no '{name}' without a key, because it is a table: "
            f"its keys are {', '.join(f'{name}.{each}' for each in faults.keys(tables[name])) or 'none'}."
        )
    if section not in tables:
        raise RecipeRefused(f"--set {name}: {faults.unknown(section, [part for part in tables if part])}.")
    fields = {field.alias or key: field for key, field in tables[section].model_fields.items()}
    if key not in fields:
        known = [f"{section}.{each}" if section else each for each in fields if each not in tables]
        raise RecipeRefused(f"--set {name}: {_elsewhere(name, tables) or faults.unknown(name, known)}.")
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # not TOML, thousands of digits, thousands of brackets
        return text
    annotation = fields[key].annotation
    words = annotation is str or get_origin(annotation) is Literal
    return text if len(table) > 1 or (words and not isinstance(table["value"], str)) else table["value"]


def _elsewhere(name: str, tables: Mapping[str, type[BaseModel]]) -> str:
    """What to say about a key that exists in other tables only; '' if there is none."""
    key = name.rpartition(".")[2]
    homes = [section for section, kind in tables.items() if key in faults.keys(kind) and key not in tables]
    names = [f"'{section}.{key}'" if section else f"'{key}'" for section in homes]
    return f"there is no '{name}' (did you mean {' or '.join(names)}?)" if names else ""
