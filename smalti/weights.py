"""Finds the files in which an ONNX graph keeps its weights, beside its own."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from google.protobuf.message import DecodeError

from smalti.v1 import graphs_pb2 as onnx


class Files(NamedTuple):
    """The locations that a graph names, as it spells them."""

    own: set[str]  # of its initializers
    inner: set[str]  # of graphs within its nodes, of attributes, and of sparse tensors


def files_of(graph: bytes) -> Files:
    """Where a graph keeps weights; raises ValueError where these bytes are no graph."""
    try:
        model = onnx.OnnxModel.FromString(graph)
    except DecodeError:
        raise ValueError("it is no ONNX graph") from None
    attributes = (each for function in model.functions for each in function.attribute_proto)
    nodes = (node for function in model.functions for node in function.node)
    inner = chain(_beside_initializers(model.graph), _in_nodes(nodes), _in_attributes(attributes))
    return Files(_locations(model.graph.initializer), _locations(inner))


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
