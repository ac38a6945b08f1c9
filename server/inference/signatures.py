"""What a model of the protocol takes and gives: datatypes and shapes, with its batch apart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from server.inference.datatypes import Datatype, datatype_of
from server.inference.naming import ProtocolModel
from smalti.runtime.manifest import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorKind:
    """An input or an output. −1 in its shape is any size; a batched one has the batch in front, as −1."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKind:
    """Inputs and outputs by name, in the order of the graph."""

    inputs: Mapping[str, TensorKind]
    outputs: Mapping[str, TensorKind]
    is_batched: bool


def kind_of(model: ProtocolModel) -> ModelKind:
    """What this model takes and gives."""
    if model.is_decoupled:
        return _drawing(model)
    graph = model.served.manifest.graph(model.graph)
    return ModelKind(inputs=_kinds(graph.inputs), outputs=_kinds(graph.outputs), is_batched=True)


def _kinds(tensors: Iterable[Tensor]) -> dict[str, TensorKind]:
    return {
        tensor.name: TensorKind(name=tensor.name, datatype=datatype_of(tensor.type), shape=tensor.shape)
        for tensor in tensors
    }


def _drawing(model: ProtocolModel) -> ModelKind:
    """A drawing: everything that is given is optional; each response is one row."""
    inputs = (
        TensorKind(name="seed", datatype=datatype_of("uint64"), shape=(1,), is_optional=True),
        TensorKind(name="temperature", datatype=datatype_of("float32"), shape=(1,), is_optional=True),
        # The first pixels of the image in raster order, which are kept.
        TensorKind(name="prefix", datatype=datatype_of("int64"), shape=(-1,), is_optional=True),
    )
    outputs = (
        TensorKind(name="row", datatype=datatype_of("int64"), shape=(1,)),
        TensorKind(name="pixels", datatype=datatype_of("int64"), shape=(model.served.manifest.width,)),
        TensorKind(name="seed", datatype=datatype_of("uint64"), shape=(1,)),
    )
    return ModelKind(
        inputs={kind.name: kind for kind in inputs},
        outputs={kind.name: kind for kind in outputs},
        is_batched=False,
    )
