"""Writes ONNX files of one or two nodes, as a repository of Triton has them."""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from server.inference.datatypes import DATATYPES

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
assert ONNX_TYPES.keys() == DATATYPES.keys()


def write_identity(root: Path, name: str, datatype: str, shape: Sequence[int | str]) -> None:
    """A model that gives its input `x` as its output `y`."""
    kind = ONNX_TYPES[datatype]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    _write(root, name, graph)


def write_add_sub(root: Path, name: str, shape: Sequence[int | str]) -> None:
    """A model that gives the sum and the difference of two inputs."""
    inputs, outputs = ("INPUT0", "INPUT1"), ("OUTPUT0", "OUTPUT1")
    graph = helper.make_graph(
        [helper.make_node("Add", inputs, [outputs[0]]), helper.make_node("Sub", inputs, [outputs[1]])],
        "add_sub",
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each in inputs],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each in outputs],
    )
    _write(root, name, graph)


def _write(root: Path, name: str, graph: onnx.GraphProto) -> None:
    folder = root / name / "1"
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
