"""Builds small ONNX files for tests: of any type and shape, several inputs, with weights in another file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

Shape = Sequence[int | str | None] | None
TYPES = {  # every type that is served: its name in a manifest, and in ONNX
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "string": TensorProto.STRING,
}


def tensor(name: str, shape: Shape = ("batch", 3), kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """An input or output; an axis with a name or None has any size, and a shape of None has any number of axes."""
    return helper.make_tensor_value_info(name, kind, shape)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 18,
) -> bytes:
    """An ONNX file's bytes."""
    made = helper.make_graph(list(nodes), "test", list(inputs), list(outputs), list(weights))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return bytes(model.SerializeToString())


def identity(shape: Shape = ("batch", 3), kind: int = TensorProto.FLOAT, *, name: str = "x") -> bytes:
    """A graph that gives its input `x` as `y`."""
    return graph(
        [helper.make_node("Identity", [name], ["y"])], [tensor(name, shape, kind)], [tensor("y", shape, kind)]
    )


def scaled(factor: float = 2.0) -> bytes:
    """A batched graph: y = factor · x, and the sum of each entry of y."""
    return graph(
        [
            helper.make_node("Mul", ["x", "factor"], ["y"]),
            helper.make_node("ReduceSum", ["y", "axis"], ["sum"], keepdims=0),
        ],
        [tensor("x")],
        [tensor("y"), tensor("sum", ["batch"])],
        [
            numpy_helper.from_array(np.array(factor, dtype=np.float32), "factor"),
            numpy_helper.from_array(np.array([1]), "axis"),
        ],
    )


def joined(first: str | int = "a", second: str | int = "b") -> bytes:
    """A graph with two inputs, one behind the other in its output."""
    return graph(
        [helper.make_node("Concat", ["left", "right"], ["y"], axis=0)],
        [tensor("left", [first]), tensor("right", [second])],
        [tensor("y", [None])],
    )


def with_weights_in(location: str) -> bytes:
    """A graph that adds weights (3,), which lie in another file."""
    weights = numpy_helper.from_array(WEIGHTS, "w")
    set_external_data(weights, location, 0, WEIGHTS.nbytes)
    weights.ClearField("raw_data")
    return graph([helper.make_node("Add", ["x", "w"], ["y"])], [tensor("x")], [tensor("y")], [weights])


WEIGHTS: NDArray[Any] = np.arange(3, dtype=np.float32)


def put(root: Path, content: bytes, *, name: str = "dec", version: int | None = 1) -> Path:
    """Put an ONNX file into a repository, as people do it for Triton; without a version into the model's own folder."""
    folder = root / name / str(version) if version else root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    return folder


def looping(times: int | None = None) -> bytes:
    """A graph that adds 1 to `x` (1,) so many times; None: as often as its input `times` says."""
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["goes_on"], ["still"]),
            helper.make_node("Add", ["sum", "one"], ["more"]),
        ],
        "body",
        [tensor("i", [], TensorProto.INT64), tensor("goes_on", [], TensorProto.BOOL), tensor("sum", [1])],
        [tensor("still", [], TensorProto.BOOL), tensor("more", [1])],
    )
    inputs = [tensor("x", [1])] + ([tensor("times", [], TensorProto.INT64)] if times is None else [])
    weights = [one] if times is None else [one, numpy_helper.from_array(np.array(times), "times")]
    return graph(
        [helper.make_node("Loop", ["times", "", "x"], ["y"], body=body)], inputs, [tensor("y", [1])], weights
    )
