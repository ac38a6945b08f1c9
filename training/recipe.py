"""Reads recipes: the TOML files that say how a model is trained."""

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from smalti.repository import Family
from training.errors import RecipeRefused

RECIPES = Path(__file__).parent / "recipes"
DEFAULT_VARIANTS = {"pixel_rnn": "diagonal", "vae": "elbo", "autoencoder": "plain", "gan": "robust"}
Options = TypeVar("Options", bound=BaseModel)
Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataRecipe(_Table):
    """How images become pixels; the indexed formats (lecture, .npz, digits) bring size and palette themselves."""

    size: Annotated[int, Field(ge=4, le=64)] = 20  # height and width in pixels
    colours: Annotated[int, Field(ge=2, le=256)] = 167  # at most; the lecture's number
    background: Colour = "#ece4d4"  # what lies behind transparent pixels
    source: str = ""  # said in the manifest where the file's digest is not known to smalti
    licence: str = ""


class TrainingRecipe(_Table):
    """How long, in what portions, and how often to look; all counted in steps, one batch each."""

    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)] = 32  # images a step
    validate_every: Annotated[int, Field(ge=1)] = 100  # also writes a checkpoint and the curve
    sheet_every: Annotated[int, Field(ge=1)] = 500  # a multiple of validate_every, or the next one is taken
    patience: Annotated[int, Field(ge=1)] = (
        1_000_000  # validations without a better one before training stops
    )
    generations: tuple[Annotated[int, Field(ge=1)], ...] = ()  # after these steps the weights are kept, too

    @model_validator(mode="after")
    def _generations_rise(self) -> Self:
        """They come before the end, which is the last generation anyway."""
        steps = (0, *self.generations, self.steps)
        if self.generations and any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError(f"generations must rise and end before step {self.steps}, the last one")
        return self


class Recipe(_Table):
    """All that decides a training, except the images."""

    family: Family
    variant: str = ""  # by default the one of DEFAULT_VARIANTS; never empty afterwards
    model: str = ""  # the model's name after `<data>-`; by default the family's
    seed: int = 1
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


def find(recipe: str, *, digits: bool) -> Path:
    """The file of a recipe given as path or name; for the digits, `NAME-digits` is taken where there is one."""
    if recipe.endswith(".toml"):
        return Path(recipe)
    candidates = [f"{recipe}-digits"] if digits else []
    for name in (*candidates, recipe):
        if (RECIPES / f"{name}.toml").is_file():
            return RECIPES / f"{name}.toml"
    raise RecipeRefused(f"There is no recipe '{recipe}': give a .toml file or one of {', '.join(names())}.")


def names() -> list[str]:
    """The names of the recipes that come with smalti."""
    return sorted(file.stem for file in RECIPES.glob("*.toml"))


def read(file: Path) -> Recipe:
    """The recipe in a TOML file; raises RecipeRefused."""
    try:
        return Recipe.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeRefused(f"The recipe {file} cannot be read: {error}.") from error
    except ValidationError as error:
        raise RecipeRefused(f"The recipe {file} is wrong at {first_fault(error)}.") from error


def options(kind: type[Options], table: dict[str, Any], name: str) -> Options:
    """A family's own table of the recipe, checked; raises RecipeRefused."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise RecipeRefused(f"The recipe's table [{name}] is wrong at {first_fault(error)}.") from error


def first_fault(error: ValidationError) -> str:
    """Where and why a table was refused: the first reason only."""
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'its top'}: {fault['msg']}"
