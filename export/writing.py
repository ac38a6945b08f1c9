"""Writes versions into the model repository: the graphs, then digests and manifest, then one rename."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from export.errors import ExportRefused
from export.registry import Exported, write_graphs
from smalti.runtime import repository
from smalti.runtime.manifest import MANIFEST, Manifest, fault_of, score_of
from smalti.runtime.repository import ModelRepository
from training import finite
from training.checkpoint import Checkpoint
from training.progress import Say, quiet


def export(checkpoint: Checkpoint, root: Path, *, version: int | None = None, say: Say = quiet) -> Path:
    """Write the checkpoint's model as a version under `root`, by default the next free one; returns its folder.

    Raises ExportRefused; the repository then stays as it was.
    """
    [folder] = export_versions({version or _next_version(root, checkpoint.model): checkpoint}, root, say=say)
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


def publish(write: Callable[[Path], list[Path]], root: Path) -> list[Path]:
    """Let `write` make versions in a temporary folder, then move them to `root`, all or none; returns the folders.

    Raises ExportRefused if a version exists and draws something else; the repository then stays as it was.
    """
    with _workshop(root) as temporary:
        written = write(temporary)
        for folder in written:
            _refuse_another(folder, root)
        return [_move(folder, root) for folder in written]


@contextmanager
def _workshop(root: Path) -> Iterator[Path]:
    """A temporary folder beside the models; raises ExportRefused if `root` cannot be written to."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=root) as temporary:
            yield Path(temporary)
    except OSError as error:
        raise ExportRefused(f"{root} cannot be written: {error.strerror}.") from error


def what_next(folder: Path) -> str:
    """Says how to draw with the version that was written."""
    manifest = repository.read(folder).manifest
    command = "smalti submit {} --watch" if manifest.draws_rows else "smalti draw {} -o {}.png"
    asked = f"{manifest.name} --version {manifest.version} --count 16"
    return (
        f"A server and workers that run with SMALTI_MODEL_REPOSITORY={folder.parent.parent} serve it within seconds; "
        f"then: {command.format(asked, manifest.name)}"
    )


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest beside the files that it lists; it is the last file."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    repository.read(folder).verify()


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file."""
    return {file.name: _sha256(file) for file in sorted(folder.iterdir())}


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


def _refuse_another(folder: Path, root: Path) -> None:
    """Raise ExportRefused if the version exists and draws something else; newer figures are welcome."""
    target = _place(folder, root)
    if target.exists() and repository.read(target).manifest.digest != repository.read(folder).manifest.digest:
        raise _draws_otherwise(target)


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
        raise _draws_otherwise(target)


def _has_a_weight(folder: Path, manifest: Manifest, checkpoint: Checkpoint) -> bool:
    """Whether the files contain a matrix of the network, as it is or transposed; others may be rearranged."""
    assert checkpoint.best is not None, "the training has finished"
    matrices = [weight.cpu() for weight in finite.leaves(checkpoint.best.weights) if weight.ndim > 1]
    written = [form.numpy().tobytes() for matrix in matrices for form in (matrix, matrix.mT)]
    content = [(folder / file).read_bytes() for file in manifest.files]
    return any(weight in each for each in content for weight in written)


def _draws_otherwise(target: Path) -> ExportRefused:
    return ExportRefused(
        f"{target} exists and draws something else: a version never changes, so export as another "
        "version (without --version, the next free one) or into another --repository; to use this place, remove that "
        "folder first."
    )


def _move(folder: Path, root: Path) -> Path:
    """Move the finished version to its place; if it is there already, replace only the manifest.

    The manifest's evaluation is kept, since the graphs are the same.
    """
    target = _place(folder, root)
    if target.exists():
        measured = repository.read(target).manifest.evaluation
        seal(folder, repository.read(folder).manifest.model_copy(update={"evaluation": measured}))
        shutil.copy2(folder / MANIFEST, target / f".{MANIFEST}")
        (target / f".{MANIFEST}").replace(target / MANIFEST)
        return target
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)
    return target


def _place(folder: Path, root: Path) -> Path:
    return root / folder.parent.name / folder.name


def _next_version(root: Path, model: str) -> int:
    return max(ModelRepository(root).models().get(model, (0,))) + 1


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
