"""The model repository: `<root>/<model>/<version>/manifest.json` beside the files that the manifest lists."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smalti.errors import GraphNotServed, ModelNotFound, RepositoryDamaged, did_you_mean

MANIFEST = "manifest.json"
Family = Literal["pixel_rnn", "vae", "autoencoder", "gan"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tensor(_Part):
    """An input or output of a graph; −1 in the shape is the batch."""

    name: str
    type: Literal["float32", "int64", "bool"]
    shape: tuple[int, ...]


class Graph(_Part):
    """One ONNX graph of a model."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class State(_Part):
    """A tensor that `draw_row` hands from one row to the next, without its batch axis."""

    input: str
    output: str
    type: Literal["float32", "int64", "bool"]
    shape: tuple[int, ...]


class Data(_Part):
    """Where the training images come from."""

    name: str
    source: str
    licence: str
    digest: str
    images: int


class Parity(_Part):
    """How far the export is from the torch network, as measured when it was made."""

    max_difference: (
        float  # largest |torch − onnxruntime| over the logits or outputs; of int8: |original − int8|
    )
    images: int
    pixels_equal: bool


class Quantisation(_Part):
    """Of which model this one is an int8 variant, and what that costs."""

    name: Name
    version: Annotated[int, Field(ge=1)]
    digest: Sha256
    lost_nats_per_pixel: float  # of log-likelihood, over images that the original drew
    images: int


class Evaluation(_Part):
    """What `python -m training.evaluate` found, and how to find it again."""

    command: str
    date: str  # ISO 8601, UTC
    seed: int
    test_images: int
    drawn_images: int
    figures: dict[str, Any]


class Manifest(_Part):
    """All there is to know of one version of a model."""

    schema_version: Literal[1] = 1
    name: Name
    version: Annotated[int, Field(ge=1)]
    family: Family
    variant: str
    height: Annotated[int, Field(ge=1, le=1024)]
    width: Annotated[int, Field(ge=1, le=1024)]
    palette: Annotated[
        tuple[Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")], ...], Field(min_length=2, max_length=65536)
    ]
    graphs: dict[str, Graph]
    states: tuple[State, ...] = ()
    latent_size: int = 0
    files: dict[str, Sha256]
    data: Data
    recipe: dict[str, Any]
    figures: dict[str, Any]  # test figures, e.g. test_nats_per_image and the counting baselines beside it
    parity: Parity
    quantisation: Quantisation | None = None  # None: weights are as they were trained
    evaluation: Evaluation | None = None  # of the exported graphs; None until it was measured

    @property
    def digest(self) -> str:
        """SHA-256 over all that decides what is drawn; figures and provenance may change without changing it."""
        deciding = self.model_dump(
            mode="json",
            include={"name", "version", "height", "width", "palette", "graphs", "states", "files"},
        )
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def graph(self, name: str) -> Graph:
        """The graph called `name`; raises GraphNotServed where the model has none."""
        if name not in self.graphs:
            served = ", ".join(sorted(self.graphs))
            raise GraphNotServed(
                f"{self.name} is a {self.family} and has no graph '{name}'; it has {served}."
            )
        return self.graphs[name]


class Model:
    """One version of a model on disk, its files checked against the manifest."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def path(self, graph: str) -> Path:
        """The ONNX file of a graph; raises GraphNotServed."""
        return self.folder / self.manifest.graph(graph).file

    def verify(self) -> None:
        """Raise RepositoryDamaged unless every file has the digest that the manifest promises."""
        for file, promised in self.manifest.files.items():
            if _sha256(self.folder / file) != promised:
                raise RepositoryDamaged(
                    f"{self.folder / file} differs from its manifest's SHA-256: "
                    "export the model again, or restore the file."
                )


class ModelRepository:
    """The models under one folder; reads the folder anew at each call, so that new versions are seen."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def models(self) -> Mapping[str, tuple[int, ...]]:
        """The versions of every model, ascending."""
        return {folder.name: versions for folder in self._folders() if (versions := _versions(folder))}

    def load(self, name: str, version: int | None = None) -> Model:
        """A model (its latest version where none is given), verified; raises ModelNotFound or RepositoryDamaged."""
        versions = self.models().get(name)
        if not versions:
            meant = did_you_mean(name, self.models())
            raise ModelNotFound(
                f"There is no model '{name}' in the model repository{meant}; "
                f"it has {', '.join(self.models()) or 'none'}."
            )
        if version is not None and version not in versions:
            raise ModelNotFound(
                f"Model '{name}' has no version {version}; it has {', '.join(map(str, versions))}."
            )
        model = read(self.root / name / str(version or versions[-1]))
        model.verify()
        return model

    def _folders(self) -> Iterator[Path]:
        if self.root.is_dir():
            yield from (folder for folder in sorted(self.root.iterdir()) if folder.is_dir())


def read(folder: Path) -> Model:
    """The model in a version's folder, its files not yet verified; raises RepositoryDamaged for a bad manifest."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise RepositoryDamaged(
            f"{folder / MANIFEST} is no manifest that this version of smalti reads: {error}"
        ) from error
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise RepositoryDamaged(
            f"{folder / MANIFEST} belongs to {manifest.name} version {manifest.version}, not to its folder."
        )
    return Model(folder, manifest)


def _versions(folder: Path) -> tuple[int, ...]:
    found = (
        int(entry.name)
        for entry in folder.iterdir()
        if entry.name.isdecimal() and (entry / MANIFEST).is_file()
    )
    return tuple(sorted(found))


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RepositoryDamaged(f"{file} is listed in the manifest but cannot be read: {error}") from error
