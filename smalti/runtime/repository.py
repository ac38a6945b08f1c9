"""The model repository: `<root>/<model>/<version>/manifest.json` beside the files that the manifest lists.

All files stay in the version's own folder: a link that leads out of it is refused.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from smalti.errors import ModelNotFound, RepositoryDamaged, did_you_mean
from smalti.printable import printable
from smalti.runtime import inventory
from smalti.runtime.inventory import Inventory
from smalti.runtime.manifest import MANIFEST, Manifest, parse

SERVING = "serving.toml"  # lies beside the versions of a model
_LARGEST_MANIFEST = 4 * 1024 * 1024  # bytes
_LARGEST_SERVING = 64 * 1024  # bytes
_LARGEST_FILE = 2 * 1024**3  # bytes; ONNX's own format ends there


class Model:
    """One version of a model on disk, its files checked against the manifest.

    Each file is read once and kept in memory, so what was checked is what is used, even if the file changes.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._contents: dict[str, bytes] = {}

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"{self.manifest.name} version {self.manifest.version}"

    def path(self, graph: str) -> Path:
        """The ONNX file of a graph; raises GraphNotServed."""
        return self.folder / self.manifest.graph(graph).file

    def verify(self) -> None:
        """Raise RepositoryDamaged unless every file is there and has the digest in the manifest."""
        for file in self.manifest.files:
            self.content(file)

    def content(self, file: str) -> bytes:
        """The bytes of a listed file; raises RepositoryDamaged unless they have the digest in the manifest."""
        if file not in self._contents:
            self._contents[file] = self._verified(file)
        return self._contents[file]

    def _verified(self, file: str) -> bytes:
        content = _content(self.folder, file, largest=_LARGEST_FILE)
        if hashlib.sha256(content).hexdigest() != self.manifest.files[file]:
            raise RepositoryDamaged(
                f"{self.title}: {file} differs from its manifest's SHA-256: "
                "export the model again, or restore the file."
            )
        return content


class ModelRepository:
    """The models under one folder. Each call reads the folder again, so new versions are seen."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def look(self) -> Inventory:
        """The models in the folder now, and what is left out and why."""
        return inventory.look(self.root)

    def models(self) -> Mapping[str, tuple[int, ...]]:
        """The versions of every model, ascending."""
        return self.look().versions

    def load(self, name: str, version: int | None = None) -> Model:
        """A verified model (the latest version by default); raises ModelNotFound or RepositoryDamaged."""
        found = self.models()
        versions = found.get(name)
        if not versions:
            meant = did_you_mean(name, found)
            raise ModelNotFound(
                f"There is no model '{printable(name)}' in the model repository{meant}; "
                f"it has {', '.join(found) or 'none'}."
            )
        if version is not None and version not in versions:
            raise ModelNotFound(
                f"Model '{printable(name)}' has no version {version}; it has {', '.join(map(str, versions))}."
            )
        model = read(self.root / name / str(version or versions[-1]))
        model.verify()
        return model

    def serving(self, name: str) -> bytes:
        """What a model's serving.toml says, empty where there is none; raises RepositoryDamaged."""
        folder = self.root / name
        if not os.path.lexists(folder / SERVING):
            return b""
        return _content(folder, SERVING, largest=_LARGEST_SERVING)


def read(folder: Path) -> Model:
    """The model in a version's folder, files not verified yet; raises RepositoryDamaged for a bad manifest."""
    place = f"{folder.parent.name}/{folder.name}/{MANIFEST}"
    try:
        manifest = parse(_content(folder, MANIFEST, largest=_LARGEST_MANIFEST))
    except ValueError as error:
        fault = printable(str(error), longest=300)
        raise RepositoryDamaged(f"{place} is not a manifest that this smalti can read: {fault}.") from error
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise RepositoryDamaged(
            f"{place} belongs to {manifest.name} version {manifest.version}, not to its folder."
        )
    return Model(folder, manifest)


def _content(folder: Path, file: str, *, largest: int) -> bytes:
    with _opened(folder, file) as stream:
        if os.fstat(stream.fileno()).st_size > largest:
            raise RepositoryDamaged(
                f"{folder.parent.name}/{folder.name}/{file} is larger than {largest} bytes."
            )
        return stream.read()


@contextmanager
def _opened(folder: Path, file: str) -> Iterator[BufferedReader]:
    """The open file; raises RepositoryDamaged unless it is a regular file inside the folder, links followed."""
    place = f"{folder.parent.name}/{folder.name}/{file}"
    try:
        with _target(folder, file, place).open("rb") as stream:
            yield stream
    except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links is a RuntimeError
        reason = getattr(error, "strerror", None) or "its links form a loop"
        raise RepositoryDamaged(f"{place} cannot be read: {reason}.") from error


def _target(folder: Path, file: str, place: str) -> Path:
    target = (folder / file).resolve(strict=True)
    if not target.is_relative_to(folder.resolve(strict=True)):
        raise RepositoryDamaged(f"{place} is a link that leads out of its folder: put the file itself there.")
    if not stat.S_ISREG(target.stat().st_mode):  # opening a pipe would wait for ever
        raise RepositoryDamaged(f"{place} is not a file.")
    return target
