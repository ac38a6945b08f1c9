"""What onnxruntime needs for the bare matrix products of drawing: no engine on it can be faster."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference
from onnxruntime import InferenceSession

from smalti.repository import Model
from smalti.session import open_session

OPSET = 20
IR_VERSION = 10  # the newest that all supported onnxruntime versions read


def bare_products(model: Model, batch: int, *, threads: int) -> Callable[[], float]:
    """Compute all products of a batch of images, and nothing else; how many images that was."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "products.onnx"
        onnx.save(bare(onnx.load(model.path("draw_row"))), file)
        session = open_session(file, threads=threads)
    feeds = _feeds(session, batch)

    def run() -> float:
        for _ in range(model.manifest.height):
            session.run(None, feeds)
        return batch

    return run


def bare(graph: ModelProto) -> ModelProto:
    """The products by constant matrices of a graph, each of an input of its own: equal ones would be done once.

    One column of each result is kept: so none is left out, and no large result has to be handed over.
    """
    found = products(graph)
    shapes = _shapes(graph)
    matrices = {weight.name: weight for weight in graph.graph.initializer}
    nodes: list[NodeProto] = []
    for index, node in enumerate(found):
        nodes.append(helper.make_node("MatMul", [f"x{index}", node.input[1]], [f"y{index}"]))
        nodes.append(helper.make_node("Slice", [f"y{index}", "none", "one", "last"], [f"kept{index}"]))
    inputs = [
        helper.make_tensor_value_info(f"x{index}", TensorProto.FLOAT, ["batch", *shapes[node.input[0]]])
        for index, node in enumerate(found)
    ]
    outputs = [helper.make_empty_tensor_value_info(f"kept{index}") for index in range(len(found))]
    numbers = {"none": 0, "one": 1, "last": -1}
    constants = [numpy_helper.from_array(np.array([value]), name) for name, value in numbers.items()]
    used = [matrices[name] for name in sorted({node.input[1] for node in found})]
    return helper.make_model(
        helper.make_graph(nodes, "products", inputs, outputs, [*constants, *used]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def products(graph: ModelProto) -> list[NodeProto]:
    """The nodes that multiply by a constant matrix."""
    matrices = {weight.name for weight in graph.graph.initializer if len(weight.dims) == 2}
    return [node for node in graph.graph.node if node.op_type == "MatMul" and node.input[1] in matrices]


def _shapes(graph: ModelProto) -> dict[str, list[int]]:
    """Of every value, without the batch."""
    known = shape_inference.infer_shapes(graph, strict_mode=True).graph
    return {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim][1:]
        for value in [*known.input, *known.value_info, *known.output]
    }


def _feeds(session: InferenceSession, batch: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    return {
        value.name: rng.uniform(-1, 1, (batch, *value.shape[1:])).astype(np.float32)
        for value in session.get_inputs()
    }
