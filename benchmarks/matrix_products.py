"""The matrix products of drawing, without anything else: no engine on onnxruntime can be faster."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper, shape_inference
from onnxruntime import InferenceSession

from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model
from smalti.runtime.session import open_session

OPSET = 20
IR_VERSION = 10  # the newest that all supported onnxruntime versions read


def bare_products(model: Model, batch: int, *, threads: int) -> Callable[[], float]:
    """A candidate that computes the matrix products of a batch of images, and nothing else."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "products.onnx"
        onnx.save(products_graph(onnx.load(model.path("draw_row")), batch), file)
        session = open_session(file, provider=Provider(threads=threads))
    feeds = _feeds(session)

    def run() -> float:
        for _ in range(model.manifest.height):
            session.run(None, feeds)
        return batch

    return run


def products_graph(graph: ModelProto, batch: int) -> ModelProto:
    """A graph with only the products by constant matrices of another graph, for one batch size.

    Products of one value by several matrices become one product, which is faster. Each product has its own input,
    because onnxruntime computes equal products once. One column of each result is an output: so no product is
    optimised away, and no large result is copied.
    """
    shapes = _shapes(graph, batch)
    matrices = {weight.name: numpy_helper.to_array(weight) for weight in graph.graph.initializer}
    nodes: list[NodeProto] = []
    used: dict[str, TensorProto] = {}
    inputs: list[ValueInfoProto] = []
    for index, (value, weights) in enumerate(products(graph).items()):
        name = " ".join(weights)
        used[name] = numpy_helper.from_array(np.concatenate([matrices[w] for w in weights], axis=1), name)
        inputs.append(helper.make_tensor_value_info(f"x{index}", TensorProto.FLOAT, shapes[value]))
        nodes.append(helper.make_node("MatMul", [f"x{index}", name], [f"y{index}"]))
        nodes.append(helper.make_node("Slice", [f"y{index}", "none", "one", "last"], [f"kept{index}"]))
    numbers = {"none": 0, "one": 1, "last": -1}
    constants = [numpy_helper.from_array(np.array([value]), name) for name, value in numbers.items()]
    outputs = [helper.make_empty_tensor_value_info(f"kept{index}") for index in range(len(inputs))]
    return helper.make_model(
        helper.make_graph(nodes, "products", inputs, outputs, [*constants, *used.values()]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def products(graph: ModelProto) -> dict[str, list[str]]:
    """For each value, the constant matrices that it is multiplied by."""
    matrices = {weight.name for weight in graph.graph.initializer if len(weight.dims) == 2}
    found: dict[str, list[str]] = {}
    for node in graph.graph.node:
        if node.op_type in {"MatMul", "Gemm"} and node.input[1] in matrices:
            found.setdefault(node.input[0], []).append(node.input[1])
    return found


def _shapes(graph: ModelProto, batch: int) -> dict[str, list[int]]:
    """The shape of every value, for one batch size."""
    sized = ModelProto()
    sized.CopyFrom(graph)
    sized.graph.ClearField("value_info")
    for value in (*sized.graph.input, *sized.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    known = shape_inference.infer_shapes(sized, strict_mode=True, data_prop=True).graph
    return {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*known.input, *known.value_info, *known.output)
    }


def _feeds(session: InferenceSession) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    return {value.name: rng.uniform(-1, 1, value.shape).astype(np.float32) for value in session.get_inputs()}
