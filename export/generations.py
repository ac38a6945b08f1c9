"""Exports a training that kept generations: they become versions 1, 2, 3 … of its model; the last is the end."""

from dataclasses import replace
from pathlib import Path

from export.errors import ExportRefused
from export.writing import export_versions
from smalti.runtime.repository import ModelRepository
from training.checkpoint import Best, Checkpoint, Generation
from training.progress import Say, quiet


def export_generations(checkpoint: Checkpoint, root: Path, *, say: Say = quiet) -> list[Path]:
    """Write every generation as a version under `root`, all of them or none; returns their folders in order.

    Exporting again renews the manifests and nothing else. Raises ExportRefused if the model has versions that are
    not this training's generations; the repository then stays as it was.
    """
    versions = dict(enumerate(of(checkpoint), start=1))
    _refuse_more(checkpoint.model, root, len(versions))
    return export_versions(versions, root, say=say)


def of(checkpoint: Checkpoint) -> list[Checkpoint]:
    """A checkpoint for each generation, as if training had ended there; the last one is the end of the training."""
    earlier = [_ended_at(checkpoint, generation) for generation in checkpoint.generations]
    return [*earlier, replace(checkpoint, generations=())]


def _ended_at(checkpoint: Checkpoint, generation: Generation) -> Checkpoint:
    return replace(
        checkpoint,
        step=generation.step,
        seconds=generation.seconds,
        best=Best(generation.step, None, generation.weights),
        figures=generation.figures,
        generations=(),
    )


def _refuse_more(model: str, root: Path, count: int) -> None:
    """Raise ExportRefused if there are more versions than generations: the latest one would be served."""
    last = max(ModelRepository(root).models().get(model, (0,)))
    if last > count:
        raise ExportRefused(
            f"{root / model} has a version {last}, but this training has {count} generations, which become versions "
            f"1 to {count}: remove that folder, or export into another --repository."
        )
