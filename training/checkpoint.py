"""Writes and reads checkpoints: all that is needed to go on after a kill, or to export."""

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import torch
from pydantic import ValidationError
from torch import nn

from smalti import repository
from training import finite
from training.errors import CheckpointNotWritten, CheckpointRefused
from training.recipe import Recipe, first_fault

FORMAT = 1
FILE = "checkpoint.pt"
# What torch, pickle and zipfile raise for files that are damaged or not a checkpoint's.
DAMAGE = (
    *(OSError, RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError),
    *(AttributeError, AssertionError, ArithmeticError, MemoryError, ImportError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


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
    pending: tuple[float, ...] = ()  # training figures since the last look, where it was stopped between two

    @property
    def model(self) -> str:
        """The model's name: `<data>-<family>`, or as the recipe says."""
        return self.recipe.named(self.about.name)

    def same_training(self, recipe: Recipe, digest: str) -> bool:
        """Whether it was made by this recipe from these images."""
        return self.recipe == recipe and self.about.digest == digest


def save(checkpoint: Checkpoint, file: Path) -> None:
    """Write atomically: a kill leaves the old checkpoint or the new one, never half of one.

    Raises CheckpointNotWritten, and then leaves the old one.
    """
    content = (
        io.BytesIO()
    )  # written by Python, whose errors are plain: torch's writer tells of full disks in its own ways
    torch.save(_plain(checkpoint), content)
    with written(file) as stream:
        stream.write(content.getbuffer())


def prepare(folder: Path, *, fresh: bool) -> None:
    """Make a training's folder, without a checkpoint if `fresh`; raises CheckpointNotWritten before work is lost."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
        if fresh:
            (folder / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointNotWritten(
            f"Nothing can be written into {folder} ({error.strerror}): give another --output."
        ) from error


@contextmanager
def written(file: Path) -> Iterator[BinaryIO]:
    """A file of a training, put in its place when it is whole; raises CheckpointNotWritten."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError as error:
        raise CheckpointNotWritten(
            f"{file} cannot be written ({error.strerror}): make room or give another --output; "
            "what was there before is kept."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def load(file: Path) -> Checkpoint:
    """Read a checkpoint; raises CheckpointRefused. Only tensors and plain values are read, never code."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise CheckpointRefused(
                f"{file} was written in format {content['format']}, and this smalti reads {FORMAT}."
            )
        checkpoint = _restored(content)
    except FileNotFoundError as error:
        raise CheckpointRefused(
            f"There is no checkpoint {file}: train one with `python -m training`."
        ) from error
    except ValidationError as error:
        raise CheckpointRefused(
            f"{file} holds a recipe that this smalti does not know ({first_fault(error)}): train anew with --fresh."
        ) from error
    except DAMAGE as error:
        raise CheckpointRefused(
            f"{file} is no checkpoint that can be read ({_reason(error)}): it is damaged or not smalti's; "
            "train anew with --fresh, or give another file."
        ) from error
    if not finite.is_finite([checkpoint.task, *_kept(checkpoint)]):
        raise CheckpointRefused(
            f"{file} holds weights that are no numbers, so nothing can go on from it: train anew with --fresh and a "
            "lower learning rate."
        )
    return checkpoint


def fill(network: nn.Module, weights: dict[str, Any]) -> None:
    """Put a checkpoint's weights into the network that its recipe describes; raises CheckpointRefused."""
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        raise CheckpointRefused(
            "The checkpoint's weights do not fit the network of its recipe: it is damaged, so train anew with --fresh."
        ) from error


def _kept(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """All weights that can be exported."""
    best = [checkpoint.best.weights] if checkpoint.best else []
    return best + [generation.weights for generation in checkpoint.generations]


def _reason(error: Exception) -> str:
    """The first words of what a library says, which may be pages."""
    said = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {said[0][:80]}" if said else type(error).__name__


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
    content = {"pending": ()} | content  # checkpoints from before it was kept lack it
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
