"""What a model of the protocol takes and gives: datatypes and shapes, checked for every request."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from server.inference.datatypes import Datatype, datatype_of
from server.oneshot.runner import WORKERS_OWN
from smalti.errors import InvalidRequest
from smalti.runtime.manifest import Graph, Manifest, Tensor
from smalti.runtime.names import DRAW

_REMEMBERED_SHAPES = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorKind:
    """An input or an output. −1 in its shape is any size; a batched one has the batch in front, as −1."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    is_optional: bool = False
    colours: int = 0  # if not 0, its values are numbers of colours, from 0 to one less


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelKind:
    """Inputs and outputs by name, in the order of the graph."""

    inputs: Mapping[str, TensorKind]
    outputs: Mapping[str, TensorKind]
    is_batched: bool
    required: frozenset[str]  # names of the inputs that every request has
    has_texts: bool  # whether an input's values must be read one by one


def kinds_of(manifest: Manifest) -> dict[str, ModelKind]:
    """Every graph of a model's version that clients of the protocol can ask, by name."""
    colours = len(manifest.palette)
    kinds = {
        name: _kind(graph, colours) for name, graph in manifest.graphs.items() if name not in WORKERS_OWN
    }
    return {**kinds, DRAW: _drawing(manifest.width, colours)} if manifest.draws_rows else kinds


@lru_cache(maxsize=_REMEMBERED_SHAPES)
def values_in(kind: TensorKind, shape: tuple[int, ...]) -> int:
    """How many values a tensor of this shape has; raises InvalidRequest if the shape does not fit."""
    if len(shape) != len(kind.shape) or not all(map(_fits, shape, kind.shape)):
        raise InvalidRequest(
            f"unexpected shape for input '{kind.name}': expected {spelled(kind.shape)}, got {spelled(shape)}."
        )
    return prod(shape)


def spelled(shape: Iterable[int]) -> str:
    """A shape as Triton writes it: [-1,16]."""
    return f"[{','.join(map(str, shape))}]"


def _fits(size: int, expected: int) -> bool:
    return size == expected if expected >= 0 else size >= 0


def _kind(graph: Graph, colours: int) -> ModelKind:
    return _model_kind(
        [_tensor(each, colours) for each in graph.inputs],
        [_tensor(each, 0) for each in graph.outputs],
        is_batched=graph.is_batched,
    )


def _tensor(tensor: Tensor, colours: int) -> TensorKind:
    return TensorKind(
        name=tensor.name,
        datatype=datatype_of(tensor.type),
        shape=tensor.shape,
        colours=colours if tensor.name == "pixels" else 0,
    )


def _model_kind(
    inputs: Iterable[TensorKind], outputs: Iterable[TensorKind], *, is_batched: bool
) -> ModelKind:
    taken = {kind.name: kind for kind in inputs}
    return ModelKind(
        inputs=taken,
        outputs={kind.name: kind for kind in outputs},
        is_batched=is_batched,
        required=frozenset(name for name, kind in taken.items() if not kind.is_optional),
        has_texts=not all(kind.datatype.has_fixed_size for kind in taken.values()),
    )


def _drawing(width: int, colours: int) -> ModelKind:
    """A drawing: all inputs are optional; each response is one row."""
    return _model_kind(
        [
            TensorKind(name="seed", datatype=datatype_of("uint64"), shape=(1,), is_optional=True),
            TensorKind(name="temperature", datatype=datatype_of("float32"), shape=(1,), is_optional=True),
            TensorKind(  # the first pixels of the image in raster order, which are kept
                name="prefix",
                datatype=datatype_of("int64"),
                shape=(-1,),
                is_optional=True,
                colours=colours,
            ),
        ],
        [
            TensorKind(name="row", datatype=datatype_of("int64"), shape=(1,)),
            TensorKind(name="pixels", datatype=datatype_of("int64"), shape=(width,)),
            TensorKind(name="seed", datatype=datatype_of("uint64"), shape=(1,)),
        ],
        is_batched=False,
    )
