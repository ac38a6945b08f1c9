"""Reads recipes: the TOML files that say how a model is trained."""

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

RECIPES = Path(__file__).parent / "recipes"
DEFAULT_VARIANTS = {"pixel_rnn": "diagonal", "vae": "elbo", "autoencoder": "plain", "gan": "robust"}
Options = TypeVar("Options", bound=BaseModel)


def colour(text: str) -> str:
    """A colour as #rrggbb in small letters, of one written so or as #rgb; raises ValueError."""
    text = text.strip().lower()
    if re.fullmatch("#[0-9a-f]{3}", text):
        return "#" + "".join(2 * digit for digit in text[1:])
    if not re.fullmatch("#[0-9a-f]{6}", text):
        raise ValueError(
            f"must be a colour as red, green and blue of two digits 0 … f each, e.g. #ffffff, not {text[:60]!r}"
        )
    return text


Colour = Annotated[str, AfterValidator(colour)]
Steps = Annotated[int, Field(ge=1, le=10**9)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class DataRecipe(_Table):
    """How images become pixels; the indexed formats (lecture, .npz, digits) bring size and palette themselves."""

    size: Annotated[int, Field(ge=4, le=64)] = 20  # height and width in pixels
    colours: Annotated[int, Field(ge=2, le=256)] = 167  # at most; the lecture's number
    background: Colour = "#ece4d4"  # what lies behind transparent pixels
    source: str = ""  # said in the manifest where the file's digest is not known to smalti
    licence: str = ""


class TrainingRecipe(_Table):
    """How long, in what portions, and how often to look; all counted in steps, one batch each."""

    steps: Steps
    batch: Annotated[int, Field(ge=1, le=65536)] = 32  # images a step
    validate_every: Steps = 100  # also writes a checkpoint and the curve
    sheet_every: Steps = 500  # a multiple of validate_every, or the next one is taken
    patience: Steps = 1_000_000  # validations without a better one before training stops
    generations: Annotated[
        tuple[Steps, ...], Field(strict=False)
    ] = ()  # after these the weights are kept, too

    @model_validator(mode="after")
    def _generations_rise(self) -> Self:
        """They come before the end, which is the last generation anyway."""
        steps = (0, *self.generations, self.steps)
        if self.generations and any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError(
                f"generations must rise and end before step {self.steps}, the last one "
                "(training.generations=[] keeps none)"
            )
        return self


class Recipe(_Table):
    """All that decides a training, except the images."""

    family: FamilyName
    variant: str = ""  # by default the one of DEFAULT_VARIANTS; never empty afterwards
    model: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,40})?$")] = (
        ""  # the model's name after `<data>-`; by default the family's
    )
    name: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,62})?$")] = (
        ""  # the model's whole name, where it shall be another than `<data>-<model>`
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    data: DataRecipe = DataRecipe()
    training: TrainingRecipe
    network: dict[str, Any] = {}  # checked by the family, as are the next two
    optimiser: dict[str, Any] = {}
    loss: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _default_variant(cls, content: Any) -> Any:
        """Filled in before anything is checked, so that whoever names the default has the same recipe."""
        if isinstance(content, dict) and isinstance(family := content.get("family"), str):
            return {"variant": DEFAULT_VARIANTS.get(family, "")} | content
        return content

    @property
    def suffix(self) -> str:
        """What the model is called after its data: `pixel-rnn` in `sprites-pixel-rnn`."""
        return self.model or self.family.replace("_", "-")

    def named(self, data: str) -> str:
        """The name of the model that this recipe makes of so named data."""
        return self.name or f"{data}-{self.suffix}"


def find(recipe: str, *, digits: bool) -> Path:
    """The file of a recipe given as path or name; for the digits, `NAME-digits` is taken where there is one."""
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
    except ValueError as error:  # of Python, for a whole number of thousands of digits
        raise RecipeRefused(
            f"The recipe {file} cannot be read: a number in it has too many digits."
        ) from error
    except RecursionError as error:
        raise RecipeRefused(f"The recipe {file} cannot be read: its tables are nested too deeply.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    return str(getattr(error, "strerror", None) or error)


def changed(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with other values, by dotted names such as `training.steps`; raises RecipeRefused."""
    content = recipe.model_dump(by_alias=True)
    for name, value in settings.items():
        *path, last = name.split(".")
        table = content
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise RecipeRefused(f"{name} is no setting: {part} has no parts.")
        table[last] = value
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeRefused(f"A setting is wrong at {faults.sentence(error, Recipe)}.") from error


def differences(one: Recipe, other: Recipe) -> list[str]:
    """What two recipes say differently, e.g. `training.steps is 3000 there and 100 here`."""
    there, here = (_flat(recipe.model_dump(mode="json")) for recipe in (one, other))
    return [
        f"{name} is {there.get(name, 'not set')} there and {here.get(name, 'not set')} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a table and of those in it by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def options(kind: type[Options], table: dict[str, Any], name: str) -> Options:
    """A family's own table of the recipe, checked; raises RecipeRefused."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise RecipeRefused(
            f"The recipe's table [{name}] is wrong at {faults.sentence(error, kind)}."
        ) from error
