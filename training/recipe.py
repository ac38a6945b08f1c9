"""Reads recipes: TOML files that say how a model is trained."""

import re
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from smalti.runtime.families import FamilyName
from training import faults
from training.errors import RecipeRefused
from training.registry import FAMILIES

RECIPES = Path(__file__).parent / "recipes"
Options = TypeVar("Options", bound=BaseModel)


def colour(text: str) -> str:
    """A colour, written as #rrggbb or #rgb, as #rrggbb in lower case; raises ValueError."""
    text = text.strip().lower()
    if re.fullmatch("#[0-9a-f]{3}", text):
        return "#" + "".join(2 * digit for digit in text[1:])
    if not re.fullmatch("#[0-9a-f]{6}", text):
        raise ValueError(
            f"must be a colour, written as # and two digits 0 … f each for red, green and blue, e.g. #ffffff, "
            f"not {text[:60]!r}"
        )
    return text


Colour = Annotated[str, AfterValidator(colour)]
Steps = Annotated[int, Field(ge=1, le=10**9)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class DataRecipe(_Table):
    """How pictures become images; formats with indices (lecture, .npz, digits) bring their own size and palette."""

    size: Annotated[int, Field(ge=4, le=64)] = 20  # height and width in pixels
    colours: Annotated[int, Field(ge=2, le=256)] = 167  # at most; the lecture has 167
    background: Colour = "#ece4d4"  # behind transparent pixels
    source: str = ""  # for the manifest, if smalti does not know the data by their digest
    licence: str = ""


class TrainingRecipe(_Table):
    """How long to train and how often to validate, in steps of one batch each."""

    steps: Steps
    batch: Annotated[int, Field(ge=1, le=65536)] = 32  # images per step
    validate_every: Steps = 100  # a checkpoint and the curve are written then, too
    sheet_every: Steps = 500  # rounded up to a multiple of validate_every
    patience: Steps = 1_000_000  # training stops after this many validations without a better one
    generations: Annotated[
        tuple[Steps, ...], Field(strict=False)
    ] = ()  # after these the weights are kept, too

    @model_validator(mode="after")
    def _generations_rise(self) -> Self:
        """They must rise and come before the last step, which is a generation anyway."""
        steps = (0, *self.generations, self.steps)
        if self.generations and any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError(
                f"generations must rise and end before step {self.steps}, the last one "
                "(training.generations=[] keeps none)"
            )
        return self


class Recipe(_Table):
    """Everything that determines a training, except the images."""

    family: FamilyName
    variant: str = ""  # if empty, the family's default is filled in
    model: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,40})?$")] = (
        ""  # the model's name after `<data>-`; by default the family's
    )
    name: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$")] = (
        ""  # the model's whole name; by default `<data>-<model>`
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    data: DataRecipe = DataRecipe()
    training: TrainingRecipe
    network: dict[str, Any] = {}  # checked by the family, like the next two
    optimiser: dict[str, Any] = {}
    loss: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _default_variant(cls, content: Any) -> Any:
        """Fill in the family's default first, so that a recipe that names it is an equal recipe."""
        if isinstance(content, dict) and isinstance(family := content.get("family"), str):
            entry = FAMILIES.get(family)
            return {"variant": entry.default_variant if entry else ""} | content
        return content

    @property
    def suffix(self) -> str:
        """The part of the model's name after the data: `pixel-rnn` in `sprites-pixel-rnn`."""
        return self.model or self.family.replace("_", "-")

    def named(self, data: str) -> str:
        """The name of the model that this recipe makes from data of this name."""
        return self.name or f"{data}-{self.suffix}"


def find(recipe: str, *, digits: bool) -> Path:
    """The file of a recipe, given by path or name; for the digits, `NAME-digits` comes first."""
    if recipe.endswith(".toml"):
        return Path(recipe)
    candidates = [f"{recipe}-digits"] if digits else []
    for name in (*candidates, recipe):
        if (RECIPES / f"{name}.toml").is_file():
            return RECIPES / f"{name}.toml"
    raise RecipeRefused(
        f"There is no recipe '{recipe}'{faults.did_you_mean(recipe, names())}: give a .toml file or one of "
        f"{', '.join(names())}."
    )


def names() -> list[str]:
    """The names of the recipes that come with smalti."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))


def read(file: Path) -> Recipe:
    """The recipe in a TOML file; raises RecipeRefused."""
    try:
        return Recipe.model_validate(tomllib.loads(file.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeRefused(f"The recipe {file} cannot be read: {_reason(error)}.") from error
    except ValidationError as error:
        raise RecipeRefused(f"The recipe {file} is wrong at {faults.sentence(error, Recipe)}.") from error
    except ValueError as error:  # Python's, for a whole number of thousands of digits
        raise RecipeRefused(
            f"The recipe {file} cannot be read: a number in it has too many digits."
        ) from error
    except RecursionError as error:
        raise RecipeRefused(f"The recipe {file} cannot be read: its tables are nested too deeply.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    return str(getattr(error, "strerror", None) or error)


def changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with these settings changed, by dotted names such as `training.steps`; raises RecipeRefused."""
    content = recipe.model_dump(by_alias=True)
    for name, value in settings.items():
        *path, last = name.split(".")
        table = content
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise RecipeRefused(f"{name} is not a setting: {part} is not a table.")
        table[last] = value
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeRefused(f"A setting is wrong at {faults.sentence(error, Recipe)}.") from error


def differences(one: Recipe, other: Recipe) -> list[str]:
    """The differences of two recipes, e.g. `training.steps is 3000 there and 100 here`."""
    there, here = (_flat(recipe.model_dump(mode="json")) for recipe in (one, other))
    return [
        f"{name} is {there.get(name, 'not set')} there and {here.get(name, 'not set')} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a table and of its inner tables, by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def options(kind: type[Options], table: dict[str, Any], name: str) -> Options:
    """A table of the recipe, checked by the family's class; raises RecipeRefused."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise RecipeRefused(
            f"The recipe's table [{name}] is wrong at {faults.sentence(error, kind)}."
        ) from error
