"""The two ONNX files that every server serves: a decoder, and the same decoder with its answer many times over."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LATENT = 10
SIZES = (LATENT, 256, 512, 1200)
REPEATS = 874  # 874 × 1,200 floats are 4.2 MB
SMALL, LARGE = "decoder", "repeated"
INPUT, OUTPUT = "latents", "pixels"


def write(folder: Path) -> dict[str, Path]:
    """Write both files; by the name of the model."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.onnx" for name in (SMALL, LARGE)}
    onnx.save(_graph(repeats=1), files[SMALL])
    onnx.save(_graph(repeats=REPEATS), files[LARGE])
    return files


def _graph(*, repeats: int) -> onnx.ModelProto:
    nodes, weights, value = [], [], INPUT
    chance = np.random.default_rng(0)
    for layer, (inside, outside) in enumerate(pairwise(SIZES)):
        matrix = chance.normal(0, inside**-0.5, (inside, outside)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"weight{layer}"))
        nodes.append(helper.make_node("MatMul", [value, f"weight{layer}"], [f"sum{layer}"]))
        kind = "Sigmoid" if outside == SIZES[-1] else "Relu"
        nodes.append(helper.make_node(kind, [f"sum{layer}"], [f"layer{layer}"]))
        value = f"layer{layer}"
    weights.append(numpy_helper.from_array(np.array([1, repeats], np.int64), "repeats"))
    nodes.append(helper.make_node("Tile", [value, "repeats"], [OUTPUT]))
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", LATENT])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", SIZES[-1] * repeats])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
