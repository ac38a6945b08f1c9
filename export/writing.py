"""Writes trained models into the model repository: their graphs and manifests."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from export.errors import ExportRefused
from export.publishing import differs, digests, next_version, publish, seal
from export.registry import Exported, write_graphs
from smalti.runtime import repository
from smalti.runtime.manifest import Manifest, fault_of, score_of
from training import finite
from training.checkpoint import Checkpoint
from training.progress import Say, quiet


def export(checkpoint: Checkpoint, root: Path, *, version: int | None = None, say: Say = quiet) -> Path:
    """Write the checkpoint's model as a version under `root`, by default the next free one; returns its folder.

    Raises ExportRefused; the repository then stays as it was.
    """
    [folder] = export_versions({version or next_version(root, checkpoint.model): checkpoint}, root, say=say)
    return folder


def export_versions(checkpoints: Mapping[int, Checkpoint], root: Path, *, say: Say = quiet) -> list[Path]:
    """Write checkpoints of one model as versions, all of them or none; returns the folders. The keys are the versions.

    Raises ExportRefused; the repository then stays as it was.
    """
    for version, checkpoint in checkpoints.items():
        _refuse_unfinished(checkpoint)
        _refuse_other_weights(checkpoint, root / checkpoint.model / str(version))
    return publish(
        lambda place: [_write(each, place, version, say) for version, each in checkpoints.items()], root
    )


def what_next(folder: Path) -> str:
    """Says how to draw with the version that was written."""
    manifest = repository.read(folder).manifest
    command = "smalti submit {} --watch" if manifest.draws_rows else "smalti draw {} -o {}.png"
    asked = f"{manifest.name} --version {manifest.version} --count 16"
    return (
        f"A server and workers that run with SMALTI_MODEL_REPOSITORY={folder.parent.parent} serve it within seconds; "
        f"then: {command.format(asked, manifest.name)}"
    )


def _refuse_unfinished(checkpoint: Checkpoint) -> None:
    if checkpoint.best is None or not checkpoint.figures:
        raise ExportRefused(
            "This training has not finished: run `python -m training` again, and it continues."
        )
    if not finite.is_finite(checkpoint.best.weights):
        raise ExportRefused(
            "The network has weights that are not numbers: train it again with a lower learning rate."
        )


def _write(checkpoint: Checkpoint, root: Path, version: int, say: Say) -> Path:
    say(f"{checkpoint.model} version {version}: writing its graphs and comparing them with torch")
    folder = root / checkpoint.model / str(version)
    folder.mkdir(parents=True)
    exported = write_graphs(checkpoint, folder)
    seal(folder, _manifest(checkpoint, exported, folder, version))
    return folder


def _manifest(checkpoint: Checkpoint, exported: Exported, folder: Path, version: int) -> Manifest:
    try:
        return Manifest(
            name=checkpoint.model,
            version=version,
            family=checkpoint.recipe.family,
            variant=checkpoint.recipe.variant,
            height=checkpoint.height,
            width=checkpoint.width,
            palette=checkpoint.palette,
            graphs=exported.graphs,
            score=score_of(checkpoint.recipe.family, exported.graphs),
            states=exported.states,
            latent_size=exported.latent_size,
            files=digests(folder),
            data=checkpoint.about,
            recipe=checkpoint.recipe.model_dump(mode="json"),
            figures=checkpoint.figures | {"training_seconds": round(checkpoint.seconds)},
            parity=exported.parity,
        )
    except ValidationError as error:
        raise ExportRefused(f"{checkpoint.model} does not fit into a manifest: {fault_of(error)}.") from error


def _refuse_other_weights(checkpoint: Checkpoint, target: Path) -> None:
    """Raise ExportRefused early, before minutes of writing and comparing, if the version clearly has another network.

    That is so if its figures differ and its files contain none of these weights. If only one of the two is true, the
    comparison of the written files decides.
    """
    if not target.exists():
        return
    there = repository.read(target).manifest
    same_figures = there.figures | checkpoint.figures == there.figures
    if not same_figures and not _has_a_weight(target, there, checkpoint):
        raise differs(target)


def _has_a_weight(folder: Path, manifest: Manifest, checkpoint: Checkpoint) -> bool:
    """Whether the files contain a matrix of the network, as it is or transposed; others may be rearranged."""
    assert checkpoint.best is not None, "the training has finished"
    matrices = [weight.cpu() for weight in finite.leaves(checkpoint.best.weights) if weight.ndim > 1]
    written = [form.numpy().tobytes() for matrix in matrices for form in (matrix, matrix.mT)]
    content = [(folder / file).read_bytes() for file in manifest.files]
    return any(weight in each for each in content for weight in written)
