"""The model repository: `<root>/<model>/<version>/manifest.json` beside the files that the manifest lists.

A manifest is outside data: all of it is checked once, when it is read, and what it names stays in its own folder.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from smalti.errors import GraphNotServed, ModelNotFound, RepositoryDamaged, did_you_mean
from smalti.printable import printable
from smalti.runtime import contract, inventory, strict_json
from smalti.runtime.contract import Kind, Signature, StateKind
from smalti.runtime.inventory import LARGEST_VERSION, Inventory

MANIFEST = inventory.MANIFEST
_LARGEST_MANIFEST = 4 * 1024 * 1024  # bytes
_LARGEST_FILE = 2 * 1024**3  # bytes; ONNX's own format ends there
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_MEANT: dict[str, str] = {}  # what text of each pattern is, with an example
_SAID = {  # by pydantic's types of errors
    "missing": "is missing",
    "extra_forbidden": "is no field that a manifest has there",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
    "int_type": "must be a whole number, such as 8",
    "int_from_float": "must be a whole number, such as 8",
    "int_parsing_size": "must be a smaller number",
    "float_type": "must be a number, such as 0.5",
    "finite_number": "must be a number, such as 0.5",
    "bool_type": "must be true or false",
    "string_type": 'must be text in quotes, such as "text"',
    "tuple_type": "must be a list, such as [1, 2]",
    "list_type": "must be a list, such as [1, 2]",
    "dict_type": 'must be an object, such as {{"name": 1}}',
    "model_type": 'must be an object, such as {{"name": 1}}',
}
_LARGEST_STATE = 1 << 20  # values that one sample's states may have
Family = Literal["pixel_rnn", "vae", "autoencoder", "gan"]
Type = Literal["float32", "int64", "bool"]


def _text(pattern: str, meant: str) -> Any:
    """A field of text that matches a pattern; `meant` says what that is, for whoever wrote something else."""
    _MEANT[pattern] = meant
    return Field(pattern=pattern)


Sha256 = Annotated[
    str, _text(r"^[0-9a-f]{64}$", "a SHA-256, as sha256sum writes it: 64 digits of 0-9 and a-f")
]
Name = Annotated[
    str, _text(r"^[a-z0-9][a-z0-9-]{0,62}$", "a name of a-z, 0-9 and '-', such as 'sprites-vae'")
]
Colour = Annotated[str, _text(r"^#[0-9a-fA-F]{6}$", "a colour, such as '#1a2b3c'"), AfterValidator(str.lower)]
Version = Annotated[int, Field(ge=1, le=LARGEST_VERSION)]
File = Annotated[
    str,
    _text(r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$", "a file in the version's own folder, such as 'decode.onnx'"),
]
Line = Annotated[  # printed in tables
    str, _text(r"^[^\x00-\x1f\x7f-\x9f]{0,1000}$", "one line of at most 1000 characters, such as 'lecture'")
]
Label = Annotated[
    str, _text(r"^[A-Za-z0-9_.:/-]{1,200}$", "a tensor's name as in the ONNX file, such as 'pixels'")
]
Count = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[int, Field(ge=1, le=2**24)]  # of an axis
Batched = Annotated[tuple[Annotated[int, Field(ge=-1, le=2**24)], ...], Field(max_length=8)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tensor(_Part):
    """An input or output of a graph; −1 in the shape is the batch."""

    name: Label
    type: Type
    shape: Batched


class Graph(_Part):
    """One ONNX graph of a model."""

    file: File
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def signature(self) -> Signature:
        """The same, by name."""
        return Signature(_by_name(self.inputs), _by_name(self.outputs))


class State(_Part):
    """A tensor that `draw_row` hands from one row to the next, without its batch axis."""

    input: Label
    output: Label
    type: Type
    shape: Annotated[tuple[Size, ...], Field(max_length=7)]

    @property
    def values(self) -> int:
        """How many numbers it has for one sample."""
        return prod(self.shape)


class Data(_Part):
    """Where the training images come from."""

    name: str
    source: str
    licence: str
    digest: str
    images: Count


class Parity(_Part):
    """How far the export is from the torch network, as measured when it was made."""

    max_difference: (
        float  # largest |torch − onnxruntime| over the logits or outputs; of int8: |original − int8|
    )
    images: Count
    pixels_equal: bool


class Quantisation(_Part):
    """Of which model this one is an int8 variant, and what that costs."""

    name: Name
    version: Version
    digest: Sha256
    lost_nats_per_pixel: float  # of log-likelihood, over images that the original drew
    images: Count


class Evaluation(_Part):
    """What `python -m evaluation` found, and how to find it again."""

    command: str
    date: str  # ISO 8601, UTC
    seed: int
    test_images: Count
    drawn_images: Count
    figures: dict[str, Any]


class Manifest(_Part):
    """All there is to know of one version of a model."""

    schema_version: Literal[1] = 1
    name: Name
    version: Version
    family: Family
    variant: Line
    height: Annotated[int, Field(ge=1, le=1024)]
    width: Annotated[int, Field(ge=1, le=1024)]
    palette: Annotated[tuple[Colour, ...], Field(min_length=2, max_length=65536)]
    graphs: dict[str, Graph]
    states: Annotated[tuple[State, ...], Field(max_length=64)] = ()
    latent_size: Annotated[int, Field(ge=0, le=65536)] = 0  # 0 for a PixelRNN, which has none
    files: dict[File, Sha256]
    data: Data
    recipe: dict[str, Any]
    figures: dict[str, Any]  # test figures, e.g. test_nats_per_image and the counting baselines beside it
    parity: Parity
    quantisation: Quantisation | None = None  # None: weights are as they were trained
    evaluation: Evaluation | None = None  # of the exported graphs; None until it was measured

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        fault = (
            self._fault_of_sizes()
            or self._fault_of_states()
            or self._fault_of_files()
            or self._fault_of_graphs()
            or self._fault_of_recipe()
            or self._fault_of_palette()
        )
        if fault:
            raise ValueError(fault)
        return self

    def _fault_of_sizes(self) -> str:
        if (self.latent_size == 0) != (self.family == "pixel_rnn"):
            return f"latent_size is {self.latent_size}, which {self.kind} cannot have"
        return ""

    def _fault_of_palette(self) -> str:
        """A network's logits have a place for each colour."""
        outputs = (output for graph in self.graphs.values() for output in graph.outputs)
        sizes = [output.shape[-1] for output in outputs if output.name == "logits" and output.shape]
        if sizes and sizes[0] != len(self.palette):
            return f"its palette has {len(self.palette)} colours, but its network draws with {sizes[0]}"
        return ""

    def _fault_of_states(self) -> str:
        if self.states and self.family != "pixel_rnn":
            return f"it has states, which {self.kind} cannot have"
        own = contract.signatures("pixel_rnn", height=1, width=1, latent_size=0)["draw_row"]
        for what, given, taken in (
            ("input", [state.input for state in self.states], own.inputs),
            ("output", [state.output for state in self.states], own.outputs),
        ):
            if len({*given, *taken}) < len(given) + len(taken):
                return f"two of its states, or a state and draw_row itself, have the same {what}"
        values = sum(state.values for state in self.states)
        if values > _LARGEST_STATE:
            return f"its states have {values} values, and {_LARGEST_STATE} are the most"
        return ""

    def _fault_of_files(self) -> str:
        unlisted = [graph.file for graph in self.graphs.values() if graph.file not in self.files]
        return f"'{unlisted[0]}' is not listed in files, with its SHA-256" if unlisted else ""

    def _fault_of_graphs(self) -> str:
        known = self.signatures
        if contract.MAIN[self.family] not in self.graphs:
            return f"it has no graph '{contract.MAIN[self.family]}', as every {self.family} has"
        for name, graph in self.graphs.items():
            if name not in known:
                return f"it has a graph '{printable(name)}', which {self.kind} cannot have"
            if fault := _fault_of_graph(graph, known[name]):
                return f"of graph '{name}' it says that {fault}"
        return ""

    def _fault_of_recipe(self) -> str:
        """Of what serving and evaluating read of it; the rest is for people."""
        for part in ("data", "optimiser"):
            if not isinstance(self.recipe.get(part, {}), dict):
                return f"recipe.{part} is no object"
        background = self.recipe.get("data", {}).get("background", self.palette[0])
        if not isinstance(background, str) or not _COLOUR.fullmatch(background):
            return f"recipe.data.background is {printable(ascii(background))}, and no colour written as '#rrggbb'"
        return ""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What each graph that it may have takes and gives."""
        return contract.signatures(
            self.family,
            height=self.height,
            width=self.width,
            latent_size=self.latent_size,
            states=[
                StateKind(state.input, state.output, (state.type, (-1, *state.shape)))
                for state in self.states
            ],
        )

    @property
    def digest(self) -> str:
        """SHA-256 over all that decides what is drawn; figures and provenance may change without changing it."""
        deciding = self.model_dump(
            mode="json",
            include={"name", "version", "height", "width", "palette", "graphs", "states", "files"},
        )
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    @property
    def kind(self) -> str:
        """Its family with the article, for a sentence: 'an autoencoder'."""
        return f"{'an' if self.family[0] in 'aeiou' else 'a'} {self.family}"

    def graph(self, name: str) -> Graph:
        """The graph called `name`; raises GraphNotServed where the model has none."""
        if name not in self.graphs:
            served = ", ".join(sorted(self.graphs))
            raise GraphNotServed(f"{self.name} is {self.kind} and has no graph '{name}'; it has {served}.")
        return self.graphs[name]


class Model:
    """One version of a model on disk, its files checked against the manifest.

    Each file is read once, and kept as long as this is: what was checked is what is used, whatever happens to the file.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._contents: dict[str, bytes] = {}

    @property
    def title(self) -> str:
        """How sentences name it."""
        return f"{self.manifest.name} version {self.manifest.version}"

    def path(self, graph: str) -> Path:
        """The ONNX file of a graph; raises GraphNotServed."""
        return self.folder / self.manifest.graph(graph).file

    def verify(self) -> None:
        """Raise RepositoryDamaged unless every file is in the folder and has the digest that the manifest promises."""
        for file in self.manifest.files:
            self.content(file)

    def content(self, file: str) -> bytes:
        """The bytes of a listed file, which have the digest that the manifest promises; raises RepositoryDamaged."""
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
    """The models under one folder; reads the folder anew at each call, so that new versions are seen."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def look(self) -> Inventory:
        """What lies in the folder now: models, and what is left out and why."""
        return inventory.look(self.root)

    def models(self) -> Mapping[str, tuple[int, ...]]:
        """The versions of every model, ascending."""
        return self.look().versions

    def load(self, name: str, version: int | None = None) -> Model:
        """A model (its latest version where none is given), verified; raises ModelNotFound or RepositoryDamaged."""
        found = self.models()
        versions = found.get(name)
        if not versions:
            meant = did_you_mean(name, found)
            raise ModelNotFound(
                f"There is no model '{name}' in the model repository{meant}; "
                f"it has {', '.join(found) or 'none'}."
            )
        if version is not None and version not in versions:
            raise ModelNotFound(
                f"Model '{name}' has no version {version}; it has {', '.join(map(str, versions))}."
            )
        model = read(self.root / name / str(version or versions[-1]))
        model.verify()
        return model


def read(folder: Path) -> Model:
    """The model in a version's folder, its files not yet verified; raises RepositoryDamaged for a bad manifest."""
    place = f"{folder.parent.name}/{folder.name}/{MANIFEST}"
    try:
        manifest = _parse(_content(folder, MANIFEST, largest=_LARGEST_MANIFEST))
    except ValueError as error:
        fault = printable(str(error), longest=300)
        raise RepositoryDamaged(f"{place} is no manifest that this smalti reads: {fault}.") from error
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise RepositoryDamaged(
            f"{place} belongs to {manifest.name} version {manifest.version}, not to its folder."
        )
    return Model(folder, manifest)


def _parse(data: bytes) -> Manifest:
    """Raises ValueError with the first thing that is wrong."""
    try:
        return Manifest.model_validate_json(strict_json.checked(data), strict=True)
    except ValidationError as error:
        raise ValueError(fault_of(error)) from error


def fault_of(error: ValidationError) -> str:
    """The first thing that pydantic found wrong with a manifest, in words."""
    first = error.errors(include_url=False)[0]
    place, context = printable(".".join(map(str, first["loc"]))), first.get("ctx", {})
    if first["type"] in ("missing", "extra_forbidden"):
        return f"{place} {_SAID[first['type']]}"
    if first["type"] == "string_pattern_mismatch":
        said = f"must be {_MEANT[context['pattern']]}"
    elif first["type"] in _SAID:
        said = _SAID[first["type"]].format(**context)
    else:
        said = first["msg"].removeprefix("Value error, ")
    return printable(f"{place} is {ascii(first['input'])[:50]}, but {said}") if place else said


def _content(folder: Path, file: str, *, largest: int) -> bytes:
    with _opened(folder, file) as stream:
        if os.fstat(stream.fileno()).st_size > largest:
            raise RepositoryDamaged(
                f"{folder.parent.name}/{folder.name}/{file} is larger than {largest} bytes."
            )
        return stream.read()


@contextmanager
def _opened(folder: Path, file: str) -> Iterator[BufferedReader]:
    """The file, if it is one and, links followed, lies in the folder; raises RepositoryDamaged."""
    place = f"{folder.parent.name}/{folder.name}/{file}"
    try:
        with _target(folder, file, place).open("rb") as stream:
            yield stream
    except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links is a RuntimeError
        reason = getattr(error, "strerror", None) or "its links lead in a circle"
        raise RepositoryDamaged(f"{place} cannot be read: {reason}.") from error


def _target(folder: Path, file: str, place: str) -> Path:
    target = (folder / file).resolve(strict=True)
    if not target.is_relative_to(folder.resolve(strict=True)):
        raise RepositoryDamaged(f"{place} is a link that leads out of its folder: put the file itself there.")
    if not stat.S_ISREG(target.stat().st_mode):  # opening a pipe would wait for ever
        raise RepositoryDamaged(f"{place} is no file.")
    return target


def _by_name(tensors: Iterable[Tensor]) -> dict[str, Kind]:
    return {tensor.name: (tensor.type, tensor.shape) for tensor in tensors}


def _fault_of_graph(graph: Graph, expected: Signature) -> str:
    for what, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        if len(_by_name(tensors)) < len(tensors):
            return f"it has an {what} twice"
    found = graph.signature
    foreign = [name for name in found.inputs if name not in expected.inputs]
    return (
        contract.difference("input", found.inputs, expected.inputs)
        or contract.difference("output", found.outputs, expected.outputs)
        or (f"it has an input '{foreign[0]}', which nothing feeds" if foreign else "")
    )
