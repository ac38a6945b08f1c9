"""Writes and reads checkpoints: all that is needed to go on after a kill, or to export."""

import os
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from smalti import repository
from training.errors import CheckpointRefused
from training.recipe import Recipe

FORMAT = 1
FILE = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Best:
    """The weights that did best on the validation images so far (the newest, for a family that has no such figure)."""

    step: int
    valid: float | None
    weights: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Generation:
    """The weights after an earlier step, kept to be exported as a version of their own."""

    step: int
    seconds: float  # spent in training until then
    weights: dict[str, Any]
    figures: dict[str, Any] = field(default_factory=dict)  # filled when the training has finished


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the curve."""

    step: int
    train: float
    valid: float | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A training at one moment. `figures` is filled when it has finished."""

    recipe: Recipe
    about: repository.Data
    palette: tuple[str, ...]
    height: int
    width: int
    step: int = 0
    task: dict[str, Any] = field(default_factory=dict)  # networks and optimisers, as the family keeps them
    best: Best | None = None
    curve: tuple[Point, ...] = ()
    seconds: float = 0.0  # spent in training so far
    figures: dict[str, Any] = field(default_factory=dict)
    generations: tuple[Generation, ...] = ()  # those before the end

    @property
    def model(self) -> str:
        """The model's name: `<data>-<family>`."""
        return f"{self.about.name}-{self.recipe.suffix}"

    def same_training(self, recipe: Recipe, digest: str) -> bool:
        """Whether it was made by this recipe from these images."""
        return self.recipe == recipe and self.about.digest == digest


def save(checkpoint: Checkpoint, file: Path) -> None:
    """Write atomically: a kill leaves the old checkpoint or the new one, never half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            torch.save(_plain(checkpoint), stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def load(file: Path) -> Checkpoint:
    """Read a checkpoint; raises CheckpointRefused. Only tensors and plain values are read, never code."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise CheckpointRefused(
                f"{file} was written in format {content['format']}, and this smalti reads {FORMAT}."
            )
        return _restored(content)
    except FileNotFoundError as error:
        raise CheckpointRefused(
            f"There is no checkpoint {file}: train one with `python -m training`."
        ) from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise CheckpointRefused(f"{file} is no checkpoint that can be read: {error}") from error
    except ValidationError as error:
        raise CheckpointRefused(f"{file} holds a recipe that this smalti does not know: {error}") from error


def _plain(checkpoint: Checkpoint) -> dict[str, Any]:
    content = {name: getattr(checkpoint, name) for name in Checkpoint.__slots__}
    return content | {
        "format": FORMAT,
        "recipe": checkpoint.recipe.model_dump(mode="json"),
        "about": checkpoint.about.model_dump(mode="json"),
        "palette": list(checkpoint.palette),
        "best": asdict(checkpoint.best) if checkpoint.best else None,
        "curve": [asdict(point) for point in checkpoint.curve],
        "generations": [asdict(generation) for generation in checkpoint.generations],
    }


def _restored(content: dict[str, Any]) -> Checkpoint:
    fields = {name: content[name] for name in Checkpoint.__slots__}
    return Checkpoint(
        **fields
        | {
            "recipe": Recipe.model_validate(content["recipe"]),
            "about": repository.Data.model_validate(content["about"]),
            "palette": tuple(content["palette"]),
            "best": Best(**content["best"]) if content["best"] else None,
            "curve": tuple(Point(**point) for point in content["curve"]),
            "generations": tuple(Generation(**each) for each in content["generations"]),
        }
    )
