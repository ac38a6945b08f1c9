"""The model repository: `<root>/<model>/<version>/manifest.json` beside the files that the manifest lists.

An ONNX file without a manifest is a model, too: its manifest is made when it is read.
All files stay in the version's own folder: a link that leads out of it is refused.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from smalti.errors import ModelNotFound, RepositoryDamaged, did_you_mean
from smalti.printable import printable
from smalti.runtime import describing, inventory
from smalti.runtime import folder as files
from smalti.runtime.inventory import Inventory
from smalti.runtime.manifest import MANIFEST, Manifest, parse

SERVING = "serving.toml"  # lies beside the versions of a model
TRITON_CONFIG = "config.pbtxt"  # lies there in repositories of Triton, and is not read
_LARGEST_MANIFEST = 4 * 1024 * 1024  # bytes
_LARGEST_SERVING = 64 * 1024  # bytes


class Model:
    """One version of a model on disk, its files checked against the manifest.

    Each file is read once and kept in memory, so what was checked is what is used, even if the file changes.
    """

    def __init__(self, folder: Path, manifest: Manifest, contents: Mapping[str, bytes] | None = None) -> None:
        """`contents` are files that have been read already."""
        self.folder = folder
        self.manifest = manifest
        self._contents = dict(contents or {})

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
        content = files.content(self.folder, file)
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
        model = self._read(name, version or versions[-1])
        model.verify()
        return model

    def serving(self, name: str) -> bytes:
        """What a model's serving.toml says, empty where there is none; raises RepositoryDamaged."""
        folder = self.root / name
        if not os.path.lexists(folder / SERVING):
            return b""
        return files.content(folder, SERVING, place=f"{name}/{SERVING}", largest=_LARGEST_SERVING)

    def has_triton_config(self, name: str) -> bool:
        """Whether a model has a configuration for Triton, which is not read."""
        return os.path.lexists(self.root / name / TRITON_CONFIG)

    def has_manifest(self, name: str, version: int) -> bool:
        """Whether the version has a manifest of its own; if not, it is an ONNX file without images."""
        return os.path.lexists(inventory.folder_of(self.root, name, version) / MANIFEST)

    def _read(self, name: str, version: int) -> Model:
        folder = inventory.folder_of(self.root, name, version)
        if self.has_manifest(name, version):
            return read(folder)
        found = describing.described(folder, name=name, version=version)
        return Model(folder, found.manifest, found.contents)


def read(folder: Path) -> Model:
    """The model in a version's folder, files not verified yet; raises RepositoryDamaged for a bad manifest."""
    place = f"{folder.parent.name}/{folder.name}/{MANIFEST}"
    try:
        manifest = parse(files.content(folder, MANIFEST, largest=_LARGEST_MANIFEST))
    except ValueError as error:
        fault = printable(str(error), longest=300)
        raise RepositoryDamaged(f"{place} is not a manifest that this smalti can read: {fault}.") from error
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise RepositoryDamaged(
            f"{place} belongs to {manifest.name} version {manifest.version}, not to its folder."
        )
    return Model(folder, manifest)
