"""Puts finished versions into the model repository: digests and manifest, then one rename."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import ExportRefused
from smalti.runtime import repository
from smalti.runtime.manifest import MANIFEST, Manifest
from smalti.runtime.repository import ModelRepository


def publish(write: Callable[[Path], list[Path]], root: Path) -> list[Path]:
    """Let `write` make versions in a temporary folder, then move them to `root`, all or none; returns the folders.

    Raises ExportRefused if a version exists and computes something else; the repository then stays as it was.
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


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest beside the files that it lists; it is the last file."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    repository.read(folder).verify()


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file."""
    return {file.name: _sha256(file) for file in sorted(folder.iterdir())}


def _refuse_another(folder: Path, root: Path) -> None:
    """Raise ExportRefused if the version exists and computes something else; newer figures are welcome."""
    target = _place(folder, root)
    if target.exists() and repository.read(target).manifest.digest != repository.read(folder).manifest.digest:
        raise differs(target)


def differs(target: Path) -> ExportRefused:
    """The error for a version that exists and is not this one."""
    return ExportRefused(
        f"{target} exists and computes something else: a version never changes, so export as another "
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


def next_version(root: Path, model: str) -> int:
    """The number after the latest version of a model."""
    return max(ModelRepository(root).models().get(model, (0,))) + 1


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
