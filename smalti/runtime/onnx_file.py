"""Reads some facts from the bytes of an ONNX file, such as which other files hold its weights."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from google.protobuf.message import DecodeError

from smalti.v1 import graphs_pb2 as onnx

# Operators whose time or output depends on the values of their inputs, not only on the shapes.
_GROWING = frozenset(
    {
        "BlackmanWindow",
        "CenterCropPad",
        "ConstantOfShape",
        "DFT",
        "Expand",
        "HammingWindow",
        "HannWindow",
        "If",
        "Loop",
        "MaxUnpool",
        "MelWeightMatrix",
        "OneHot",
        "Pad",
        "Range",
        "Resize",
        "STFT",
        "Scan",
        "SequenceMap",
        "Tile",
        "Upsample",
    }
)


class Files(NamedTuple):
    """The files that a graph names, spelled as in the graph."""

    own: set[str]  # for its own initializers
    inner: set[str]  # for graphs inside its nodes, attributes and sparse tensors


def files_of(graph: bytes) -> Files:
    """The files with a graph's weights; raises ValueError if these bytes are not an ONNX graph."""
    model = _parsed(graph)
    attributes = (each for function in model.functions for each in function.attribute_proto)
    nodes = (node for function in model.functions for node in function.node)
    inner = chain(_beside_initializers(model.graph), _in_nodes(nodes), _in_attributes(attributes))
    return Files(_locations(model.graph.initializer), _locations(inner))


def colours_of(graph: bytes) -> int:
    """The number of colours from which a graph chooses its pixels; 0 if the file does not say."""
    found = _parsed(graph).graph
    chosen = [node for node in found.node if "pixels" in node.output and node.op_type in ("ArgMax", "ArgMin")]
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*found.value_info, *found.output)}
    if not chosen or chosen[0].input[0] not in shapes:
        return 0
    axes = shapes[chosen[0].input[0]]
    axis = next((each.i for each in chosen[0].attribute if each.name == "axis"), 0)
    return axes[axis].dim_value if -len(axes) <= axis < len(axes) else 0


def without_shapes(graph: bytes) -> set[str]:
    """The tensors among a graph's inputs and outputs that have no shape; raises ValueError as above."""
    found = _parsed(graph).graph
    return {
        value.name
        for value in (*found.input, *found.output)
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")
    }


def may_grow(graph: bytes) -> bool:
    """Whether the values of its inputs may make a run long or its outputs large; raises ValueError as above.

    An operator of another domain than ONNX's own counts as one that may.
    """
    model = _parsed(graph)
    nodes = chain(model.graph.node, *(function.node for function in model.functions))
    return any(node.op_type in _GROWING or node.domain not in ("", "ai.onnx", "ai.onnx.ml") for node in nodes)


def _parsed(graph: bytes) -> onnx.OnnxModel:
    try:
        return onnx.OnnxModel.FromString(graph)
    except DecodeError:
        raise ValueError("it is not an ONNX graph") from None


def _locations(tensors: Iterable[onnx.OnnxTensor]) -> set[str]:
    return {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}


def _in_graph(graph: onnx.OnnxGraph) -> Iterator[onnx.OnnxTensor]:
    yield from graph.initializer
    yield from _beside_initializers(graph)


def _beside_initializers(graph: onnx.OnnxGraph) -> Iterator[onnx.OnnxTensor]:
    yield from _in_sparse(graph.sparse_initializer)
    yield from _in_nodes(graph.node)


def _in_nodes(nodes: Iterable[onnx.OnnxNode]) -> Iterator[onnx.OnnxTensor]:
    for node in nodes:
        yield from _in_attributes(node.attribute)


def _in_attributes(attributes: Iterable[onnx.OnnxAttribute]) -> Iterator[onnx.OnnxTensor]:
    for attribute in attributes:
        yield from (attribute.t, *attribute.tensors)
        yield from _in_sparse((attribute.sparse_tensor, *attribute.sparse_tensors))
        if attribute.HasField("g"):
            yield from _in_graph(attribute.g)
        for graph in attribute.graphs:
            yield from _in_graph(graph)


def _in_sparse(tensors: Iterable[onnx.OnnxSparse]) -> Iterator[onnx.OnnxTensor]:
    for tensor in tensors:
        yield from (tensor.values, tensor.indices)
