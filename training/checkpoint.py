"""Writes and reads checkpoints: everything that is needed to continue a training, or to export it."""

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
from typing import Annotated, Any, BinaryIO

import torch
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    Strict,
    TypeAdapter,
    ValidationError,
)
from torch import Tensor, nn

from smalti.runtime.manifest import Data
from training import faults, finite
from training.errors import CheckpointNotWritten, CheckpointRefused
from training.recipe import Recipe

FORMAT = 1
FILE = "checkpoint.pt"
_ADVICE = "train again with --fresh, or give another file."
# What torch, pickle and zipfile raise for files that are damaged or not a checkpoint.
DAMAGE = (
    *(OSError, RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError),
    *(AttributeError, AssertionError, ArithmeticError, MemoryError, ImportError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


def _of_tensors(weights: dict[str, Any]) -> dict[str, Any]:
    """Raise ValueError if a value is not a tensor, or if there are no values; tables may contain tables."""
    for name, value in weights.items():
        if isinstance(value, dict):
            _of_tensors(value)
        elif not isinstance(value, Tensor):
            raise ValueError(f"must contain only tensors, but '{name}' is not one")
    if not weights:
        raise ValueError("must contain tensors, but is empty")
    return weights


_NUMBERS = ConfigDict(allow_inf_nan=False)
# A checkpoint is outside data: its fields are checked against these types when it is read.
Step = Annotated[int, Strict(), Field(ge=1, le=10**9)]
Number = Annotated[float, Strict()]
Seconds = Annotated[float, Strict(), Field(ge=0, le=1e12)]
Side = Annotated[int, Strict(), Field(ge=2, le=4096)]
Weights = Annotated[dict[str, Any], AfterValidator(_of_tensors)]  # of one network, or of several
Colours = Annotated[
    tuple[Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")], ...], Field(min_length=2, max_length=256)
]


@dataclass(frozen=True, slots=True)
class Best:
    """The weights with the best validation figure so far; the newest ones, for a family without such a figure."""

    __pydantic_config__ = _NUMBERS
    step: Step
    valid: Number | None
    weights: Weights


@dataclass(frozen=True, slots=True)
class Generation:
    """The weights after an earlier step, which are exported as a version of their own."""

    __pydantic_config__ = _NUMBERS
    step: Step
    seconds: Seconds  # of training until then
    weights: Weights
    figures: dict[str, JsonValue] = field(default_factory=dict)  # filled when training has finished


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the curve."""

    __pydantic_config__ = _NUMBERS
    step: Step
    train: Number
    valid: Number | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training. `figures` is empty until it has finished."""

    __pydantic_config__ = _NUMBERS
    recipe: Recipe
    about: Data
    palette: Colours
    height: Side
    width: Side
    step: Annotated[int, Strict(), Field(ge=0, le=10**9)] = 0
    task: dict[str, Any] = field(default_factory=dict)  # networks and optimisers, as the family keeps them
    best: Best | None = None
    curve: tuple[Point, ...] = ()
    seconds: Seconds = 0.0  # of training so far
    figures: dict[str, JsonValue] = field(default_factory=dict)
    generations: tuple[Generation, ...] = ()  # those before the last step
    pending: tuple[Number, ...] = ()  # training figures of the steps since the last validation

    @property
    def model(self) -> str:
        """The model's name: `<data>-<family>`, or as the recipe says."""
        return self.recipe.named(self.about.name)

    def same_training(self, recipe: Recipe, digest: str) -> bool:
        """Whether this recipe and these images made the checkpoint."""
        return self.recipe == recipe and self.about.digest == digest


def save(checkpoint: Checkpoint, file: Path) -> None:
    """Write atomically: after a kill there is the old checkpoint or the new one, never half of one.

    Raises CheckpointNotWritten; the old checkpoint then stays.
    """
    content = io.BytesIO()  # torch's own writer reports full disks in unclear ways, so Python writes the file
    torch.save(_plain(checkpoint), content)
    with written(file) as stream:
        stream.write(content.getbuffer())


def prepare(folder: Path, *, fresh: bool) -> None:
    """Make a training's folder, and delete its checkpoint if `fresh`; raises CheckpointNotWritten."""
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
    """A file of a training, moved to its place once it is complete; raises CheckpointNotWritten."""
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
            "the old file is kept."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def load(file: Path) -> Checkpoint:
    """Read a checkpoint; raises CheckpointRefused. Only tensors and plain values are read, never code."""
    content = _content(file)
    if content.get("format") != FORMAT:
        raise CheckpointRefused(
            f"{file} has the format {faults.shown(content.get('format'))}, but this smalti reads the format {FORMAT}."
        )
    content = {"pending": ()} | content  # older checkpoints lack it
    if missing := [name for name in Checkpoint.__slots__ if name not in content]:
        raise CheckpointRefused(f"{file} lacks {', '.join(missing)}, so it is damaged: {_ADVICE}")
    try:
        checkpoint = _KEPT.validate_python(content)
    except (ValidationError, RecursionError) as error:
        reason = faults.sentence(error) if isinstance(error, ValidationError) else "it is nested too deeply"
        raise CheckpointRefused(
            f"{file} lacks what a checkpoint must contain ({reason}): {_ADVICE}"
        ) from error
    if not finite.is_finite([checkpoint.task, checkpoint.figures, *_kept(checkpoint)]):
        raise CheckpointRefused(
            f"{file} has weights that are not numbers, so training cannot continue from it: train again with --fresh "
            "and a lower learning rate."
        )
    return checkpoint


def fill(network: nn.Module, weights: dict[str, Any]) -> None:
    """Put a checkpoint's weights into the network that its recipe describes; raises CheckpointRefused."""
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        raise CheckpointRefused(
            "The checkpoint's weights do not fit the network of its recipe: it is damaged, so train again with --fresh."
        ) from error


def _kept(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """All weights in the checkpoint that can be exported."""
    best = [checkpoint.best.weights] if checkpoint.best else []
    return best + [generation.weights for generation in checkpoint.generations]


def _content(file: Path) -> dict[str, Any]:
    """A file's content, unchecked; raises CheckpointRefused. The libraries' own messages would not help a user."""
    try:
        content = torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointRefused(
            f"There is no checkpoint {file}: train one with `python -m training`."
        ) from error
    except DAMAGE as error:
        why = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise CheckpointRefused(
            f"{file} cannot be read as a checkpoint{why} (it is damaged or not smalti's): {_ADVICE}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointRefused(
            f"{file} cannot be read as a checkpoint (it is damaged or not smalti's): {_ADVICE}"
        )
    return content


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


def _consistent(checkpoint: Checkpoint) -> Checkpoint:
    """Raise ValueError if the parts do not agree on how far the training is."""
    validated = checkpoint.curve[-1].step if checkpoint.curve else 0
    if checkpoint.step > checkpoint.recipe.training.steps:
        raise ValueError(f"step {checkpoint.step} is beyond the recipe's last")
    if validated + len(checkpoint.pending) != checkpoint.step:
        raise ValueError(
            f"step {checkpoint.step} does not agree with the curve, which ends at step {validated}, "
            f"and {len(checkpoint.pending)} figures since"
        )
    if (checkpoint.best is None) != (not checkpoint.curve):
        raise ValueError("best and curve do not agree on whether there was a validation")
    kept = [each.step for each in (checkpoint.best, *checkpoint.generations) if each]
    if any(step > validated for step in kept):
        raise ValueError(f"best or a generation is of a step after the last validation, {validated}")
    return checkpoint


_KEPT: TypeAdapter[Checkpoint] = TypeAdapter(Annotated[Checkpoint, AfterValidator(_consistent)])
