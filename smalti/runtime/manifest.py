"""The manifest of a model: everything that is known of one version. It is outside data, and checked when it is read."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from smalti.errors import GraphNotServed, NoImages
from smalti.printable import printable
from smalti.runtime import draw_row, signature, strict_json
from smalti.runtime.draw_row import StateKind
from smalti.runtime.families import FAMILIES, Family, FamilyName, Medium, ScoreKind, Sizes
from smalti.runtime.names import NAME, TENSORS_GRAPH, without_graph
from smalti.runtime.signature import Kind, Signature

MANIFEST = "manifest.json"  # the name of its file
FILE_NAME = "[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"  # of every other file, as a regular expression
LARGEST_VERSION = 2**32 - 1  # uint32 in the protocol
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_MEANT: dict[str, str] = {}  # by pattern: what such a text is, with an example
_SAID = {  # what to say, by pydantic's error type
    "missing": "is missing",
    "extra_forbidden": "is an unknown field",
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
MOST_AXES = 8  # of a tensor
Type = Literal[
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "string",
]


def _text(pattern: str, meant: str) -> Any:
    """A text field that must match a pattern; `meant` says in an error what such a text is."""
    _MEANT[pattern] = meant
    return Field(pattern=pattern)


Sha256 = Annotated[
    str, _text(r"^[0-9a-f]{64}$", "a SHA-256, as sha256sum writes it: 64 digits of 0-9 and a-f")
]
Name = Annotated[
    str,
    _text(f"^{NAME}$", "a name of a-z, A-Z, 0-9, '.', '-' and '_', such as 'sprites-vae'"),
    AfterValidator(without_graph),
]
Colour = Annotated[str, _text(r"^#[0-9a-fA-F]{6}$", "a colour, such as '#1a2b3c'"), AfterValidator(str.lower)]
Version = Annotated[int, Field(ge=1, le=LARGEST_VERSION)]
File = Annotated[
    str,
    _text(f"^{FILE_NAME}$", "a file in the version's own folder, such as 'decode.onnx'"),
]
Line = Annotated[  # printed in tables
    str, _text(r"^[^\x00-\x1f\x7f-\x9f]{0,1000}$", "one line of at most 1000 characters, such as 'lecture'")
]
Label = Annotated[
    str,
    _text(
        r"^[^\x00-\x1f\x7f-\x9f]{1,200}$",
        "a tensor's name of 1 to 200 characters in one line, such as 'pixels'",
    ),
]
Count = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[int, Field(ge=1, le=2**24)]  # of an axis
Shape = Annotated[tuple[Annotated[int, Field(ge=-1, le=2**31 - 1)], ...], Field(max_length=MOST_AXES)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tensor(_Part):
    """An input or output of a graph; −1 in its shape is any size. A first −1 is the batch, if the graph is batched."""

    name: Label
    type: Type
    shape: Shape

    @property
    def may_be_batched(self) -> bool:
        """Whether its first axis may have any size."""
        return self.shape[:1] == (-1,)


class Graph(_Part):
    """One ONNX graph of a model."""

    file: File
    inputs: tuple[Tensor, ...]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    batched: bool | None = None  # None: as its shapes say

    @cached_property
    def is_batched(self) -> bool:
        """Whether the first axis of all its inputs and outputs is the batch, so that requests may share a run."""
        return self.may_be_batched if self.batched is None else self.batched

    @property
    def may_be_batched(self) -> bool:
        """Whether the first axis of all its inputs and outputs may have any size."""
        tensors = (*self.inputs, *self.outputs)
        return bool(self.inputs) and all(tensor.may_be_batched for tensor in tensors)

    @property
    def signature(self) -> Signature:
        """Its inputs and outputs by name."""
        return Signature(_by_name(self.inputs), _by_name(self.outputs))

    def takes(self, name: str) -> bool:
        """Whether it has this input."""
        return any(tensor.name == name for tensor in self.inputs)

    def gives(self, name: str) -> bool:
        """Whether it has this output."""
        return any(tensor.name == name for tensor in self.outputs)


class State(_Part):
    """A tensor that `draw_row` hands from one row to the next, without its batch axis."""

    input: Label
    output: Label
    type: Type
    shape: Annotated[tuple[Size, ...], Field(max_length=MOST_AXES - 1)]

    @property
    def values(self) -> int:
        """How many numbers it holds for one sample."""
        return prod(self.shape)


class Score(_Part):
    """Which output of which graph judges an image, and what kind of number that is."""

    graph: Label
    output: Label
    kind: ScoreKind


class Data(_Part):
    """Where the training images came from."""

    name: str
    source: str
    licence: str
    digest: str
    images: Count


class Parity(_Part):
    """How far the export differs from the torch network, measured during the export."""

    max_difference: float  # largest |torch − onnxruntime| over logits or outputs; for int8: |original − int8|
    images: Count
    pixels_equal: bool


class Quantisation(_Part):
    """The model that this one is an int8 variant of, and what the variant loses."""

    name: Name
    version: Version
    digest: Sha256
    lost_nats_per_pixel: float  # of log-likelihood, over images that the original drew
    images: Count


class Evaluation(_Part):
    """What `python -m evaluation` measured, and the command that repeats it."""

    command: str
    date: str  # ISO 8601, UTC
    seed: int
    test_images: Count
    drawn_images: Count
    figures: dict[str, Any]


_OF_PICTURES = ("family", "variant", "height", "width", "palette", "data", "recipe", "figures", "parity")
_OF_SOME_PICTURES = ("score", "states", "latent_size", "quantisation", "evaluation")
_NO_DATA = Data(name="", source="", licence="", digest="", images=0)


class Manifest(_Part):
    """Everything that is known of one version of a model.

    A model whose medium is `tensors` has no images: it is one ONNX graph, and only the first three fields, the graph
    and the files say anything about it.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: Version
    medium: Medium = "image"  # what it draws
    family: FamilyName | None = (
        None  # says which graphs it may have; for what it can do, ask its graphs and the properties below
    )
    variant: Line = ""
    height: Annotated[int, Field(ge=1, le=1024)] = 0
    width: Annotated[int, Field(ge=1, le=1024)] = 0
    palette: Annotated[tuple[Colour, ...], Field(min_length=2, max_length=65536)] = ()
    graphs: dict[str, Graph]
    score: Score | None = None  # None: it scores nothing
    states: Annotated[tuple[State, ...], Field(max_length=64)] = ()
    latent_size: Annotated[int, Field(ge=0, le=65536)] = 0  # 0: it has no latents
    files: dict[File, Sha256]
    data: Data = _NO_DATA
    recipe: dict[str, Any] = {}
    figures: dict[
        str, Any
    ] = {}  # test figures, e.g. test_nats_per_image and the counting baselines beside it
    parity: Parity | None = None  # None: it was not made from torch
    quantisation: Quantisation | None = None  # None: weights are as trained
    evaluation: Evaluation | None = None  # of the exported graphs; None until measured

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if fault := self._fault_of_fields() or (
            self._fault() if self.has_images else self._fault_of_tensors()
        ):
            raise ValueError(fault)
        return self

    @model_serializer(mode="wrap")
    def _without_pictures_fields(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A model without images has no fields about images."""
        content: dict[str, Any] = serialise(self)
        unsaid = () if self.has_images else (*_OF_PICTURES, *_OF_SOME_PICTURES)
        return {name: value for name, value in content.items() if name not in unsaid}

    def _fault(self) -> str:
        return (
            self._fault_of_sizes()
            or self._fault_of_states()
            or self._fault_of_files()
            or self._fault_of_graphs()
            or self._fault_of_score()
            or self._fault_of_recipe()
            or self._fault_of_palette()
        )

    def _fault_of_fields(self) -> str:
        if self.has_images:
            missing = [name for name in _OF_PICTURES if name not in self.model_fields_set]
            return f"{missing[0]} is missing" if missing else self._fault_of_nulls()
        surplus = [name for name in (*_OF_PICTURES, *_OF_SOME_PICTURES) if name in self.model_fields_set]
        return f"it has no images, and so no {surplus[0]}" if surplus else ""

    def _fault_of_nulls(self) -> str:
        unsaid = [name for name in ("family", "parity") if getattr(self, name) is None]
        return f"{unsaid[0]} is missing" if unsaid else ""

    def _fault_of_tensors(self) -> str:
        if list(self.graphs) != [TENSORS_GRAPH]:
            return f"a model without images has one graph, '{TENSORS_GRAPH}'"
        [graph] = self.graphs.values()
        if fault := _fault_of_names(graph) or _fault_of_batch(graph):
            return f"it says of graph '{TENSORS_GRAPH}' that {fault}"
        return self._fault_of_files()

    def _fault_of_sizes(self) -> str:
        if self.has_latents != self._family.has_latents:
            return f"latent_size is {self.latent_size}, which {self.kind} cannot have"
        return ""

    def _fault_of_palette(self) -> str:
        """The logits must have one place for each colour."""
        outputs = (output for graph in self.graphs.values() for output in graph.outputs)
        sizes = [output.shape[-1] for output in outputs if output.name == "logits" and output.shape]
        if sizes and sizes[0] != len(self.palette):
            return f"its palette has {len(self.palette)} colours, but its network draws with {sizes[0]}"
        return ""

    def _fault_of_states(self) -> str:
        if self.states and not self._family.has_states:
            return f"it has states, which {self.kind} cannot have"
        for what, given, taken in (
            ("input", [state.input for state in self.states], draw_row.INPUTS),
            ("output", [state.output for state in self.states], draw_row.OUTPUTS),
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
        known, main = self.signatures, self._family.main
        if main not in self.graphs:
            return f"it has no graph '{main}', as every {self.family} has"
        for name, graph in self.graphs.items():
            if name not in known:
                return f"it has a graph '{printable(name)}', which {self.kind} cannot have"
            if fault := _fault_of_graph(graph, known[name]):
                return f"it says of graph '{name}' that {fault}"
        return ""

    def _fault_of_score(self) -> str:
        expected = _score_of(self._family, self.graphs)
        if self.score == expected:
            return ""
        said = expected.model_dump_json() if expected else "null"
        missing = "is missing: it " if self.score is None else ""
        return f"its score {missing}must be {said}, as its graphs say"

    def _fault_of_recipe(self) -> str:
        """Checks only what serving and evaluation read; the rest of a recipe is for people."""
        for part in ("data", "optimiser"):
            if not isinstance(self.recipe.get(part, {}), dict):
                return f"recipe.{part} is not an object"
        background = self.recipe.get("data", {}).get("background", self.palette[0])
        if not isinstance(background, str) or not _COLOUR.fullmatch(background):
            return (
                f"recipe.data.background is {printable(ascii(background))}, not a colour written as '#rrggbb'"
            )
        return ""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Inputs and outputs of every graph that it may have."""
        states = [
            StateKind(state.input, state.output, (state.type, (-1, *state.shape))) for state in self.states
        ]
        sizes = Sizes(height=self.height, width=self.width, latent_size=self.latent_size, states=states)
        return self._family.signatures(sizes)

    @property
    def _family(self) -> Family:
        assert self.family is not None, "models of images have a family"
        return FAMILIES[self.family]

    @property
    def has_images(self) -> bool:
        """Whether it draws, encodes or scores images; if not, it is one graph from tensors to tensors."""
        return self.medium == "image"

    def require_images(self) -> None:
        """Raise NoImages unless it is a model of images."""
        if not self.has_images:
            raise NoImages(
                f"{self.name} is {self.kind} and has no images: ask it by the Open Inference Protocol."
            )

    @property
    def draws_rows(self) -> bool:
        """Whether it draws row by row, so that its samples are drawn by jobs."""
        return self.has_images and draw_row.GRAPH in self.graphs

    @property
    def has_latents(self) -> bool:
        """Whether each of its images is made from a latent."""
        return self.latent_size > 0

    @cached_property  # one-shot requests ask several times each; a copy with other graphs would keep the old answer
    def latent_graph(self) -> str | None:
        """The graph that makes images from latents; None if there is none."""
        graphs = self.graphs if self.has_images else {}
        return next(
            (name for name, graph in graphs.items() if graph.takes("latent") and graph.gives("pixels")), None
        )

    @property
    def graph_from_latent(self) -> str:
        """The graph that makes images from latents; raises GraphNotServed if there is none."""
        if self.latent_graph is None:
            raise GraphNotServed(f"{self.name} is {self.kind}; it cannot draw from latents.")
        return self.latent_graph

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides what is drawn; figures, provenance and score do not change it."""
        deciding = self.model_dump(
            mode="json",
            include={"name", "version", "height", "width", "palette", "graphs", "states", "files"},
            exclude_none=True,
        )
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    @property
    def kind(self) -> str:
        """Its family with an article, for messages: 'an autoencoder'."""
        if self.family is None:
            return "an ONNX file"
        return f"{'an' if self.family[0] in 'aeiou' else 'a'} {self.family}"

    def graph(self, name: str) -> Graph:
        """The graph called `name`; raises GraphNotServed if the model has no such graph."""
        if name not in self.graphs:
            served = ", ".join(sorted(self.graphs))
            raise GraphNotServed(f"{self.name} is {self.kind} and has no graph '{name}'; it has {served}.")
        return self.graphs[name]


def score_of(family: FamilyName, graphs: Iterable[str]) -> Score | None:
    """The score of a model of this family that has these graphs; None if none of them scores."""
    return _score_of(FAMILIES[family], graphs)


def _score_of(family: Family, graphs: Iterable[str]) -> Score | None:
    graph = family.score_graph(graphs)
    if graph is None:
        return None
    output, kind = family.scores[graph]
    return Score(graph=graph, output=output, kind=kind)


def parse(data: bytes) -> Manifest:
    """The manifest in a file's bytes; raises ValueError with the first thing that is wrong."""
    try:
        return Manifest.model_validate_json(strict_json.checked(data), strict=True)
    except ValidationError as error:
        raise ValueError(fault_of(error)) from error


def fault_of(error: ValidationError) -> str:
    """The first fault that pydantic found in a manifest, in words."""
    first = error.errors(include_url=False)[0]
    place, context = printable(".".join(map(str, first["loc"]))), first.get("ctx", {})
    if first["type"] == "extra_forbidden":
        return f"'{place}' {_SAID[first['type']]}"  # quoted, because anybody may have chosen the name
    if first["type"] == "missing":
        return f"{place} {_SAID[first['type']]}"
    if first["type"] == "string_pattern_mismatch":
        said = f"must be {_MEANT[context['pattern']]}"
    elif first["type"] in _SAID:
        said = _SAID[first["type"]].format(**context)
    else:
        said = first["msg"].removeprefix("Value error, ")
    return printable(f"{place} is {ascii(first['input'])[:50]}, but {said}") if place else said


def _by_name(tensors: Iterable[Tensor]) -> dict[str, Kind]:
    return {tensor.name: (tensor.type, tensor.shape) for tensor in tensors}


def _fault_of_names(graph: Graph) -> str:
    for what, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        if len(_by_name(tensors)) < len(tensors):
            return f"it has an {what} twice"
    return ""


def _fault_of_batch(graph: Graph) -> str:
    if graph.batched and not graph.may_be_batched:
        return "it is batched, but not all its inputs and outputs have a first axis of any size"
    return ""


def _fault_of_graph(graph: Graph, expected: Signature) -> str:
    found = graph.signature
    foreign = [name for name in found.inputs if name not in expected.inputs]
    return (
        _fault_of_names(graph)
        or signature.difference("input", found.inputs, expected.inputs)
        or signature.difference("output", found.outputs, expected.outputs)
        or (f"it has an input '{foreign[0]}', for which smalti has no value" if foreign else "")
        or ("it is not batched, as every graph of images is" if not graph.is_batched else "")
    )
