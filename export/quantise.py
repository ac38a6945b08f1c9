"""Rewrites a graph so that matrix products with constant weights are products of small integers.

In a product x @ w, x becomes bytes by a scale that is fixed in the graph, and each column of w becomes bytes by a
scale of its own. The products are summed in 32 bits without rounding, then scaled back. Dynamic quantisation would
take the scale from the values of the whole batch, so that a sample would depend on its neighbours in the batch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.errors import ExportRefused

PRODUCTS = {"MatMul", "Gemm"}  # torch's exporter turns `addmm` into a Gemm: x @ w + a summand
INPUT_LEVELS = 127  # on either side of 0, in unsigned bytes around ZERO
ZERO = 128
# Levels of the weights on either side of 0. One bit is not used: processors without VNNI add two neighbouring products
# in 16 bits, and 2 · (ZERO + INPUT_LEVELS) · 63 still fits. So the sums are the same on every processor.
WEIGHT_LEVELS = 63


@dataclass(frozen=True, slots=True)
class Columns:
    """A weight in small integers: its column j is `levels[:, j] * steps[j]`."""

    levels: NDArray[np.int8]  # (inputs, outputs), within ± WEIGHT_LEVELS
    steps: NDArray[np.float32]  # (outputs,)


def columns(weight: NDArray[np.float32]) -> Columns:
    """The nearest levels; the largest weight of a column gets the last level, and a column of zeros stays zeros."""
    steps = np.abs(weight).max(axis=0) / np.float32(WEIGHT_LEVELS)
    safe = np.where(steps > 0, steps, np.float32(1))
    return Columns(np.rint(weight / safe).astype(np.int8), safe.astype(np.float32))


def quantise(model: ModelProto, bounds: Mapping[str, float]) -> ModelProto:
    """The graph with the products of these weights in small integers.

    `bounds` has for each weight's name the largest absolute value that is multiplied with it. Larger values are cut
    off, and values that are not numbers become some number. Raises ExportRefused if there is no such weight.
    """
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer if w.name in bounds}
    if missing := sorted(set(bounds) - set(weights)):
        raise ExportRefused(
            f"The graph has no weight called {', '.join(missing)}, so it cannot be made int8."
        )
    small = Small(bounds)
    kept = [constant for constant in model.graph.initializer if constant.name not in bounds]
    result = ModelProto()
    result.CopyFrom(model)
    result.graph.ClearField("node")
    result.graph.ClearField("initializer")
    result.graph.ClearField("value_info")
    result.graph.node.extend(new for node in model.graph.node for new in small.rewrite(node))
    result.graph.initializer.extend([*kept, *_constants(weights, bounds)])
    return result


class Small:
    """Rewrites nodes one after another; a value that several products read is turned into bytes once."""

    def __init__(self, bounds: Mapping[str, float]) -> None:
        self._bounds = bounds
        self._bytes: set[str] = set()

    def rewrite(self, node: NodeProto) -> Iterator[NodeProto]:
        """The nodes that replace this node."""
        if node.op_type not in PRODUCTS or node.input[1] not in self._bounds:
            yield node
            return
        value, weight, *added = node.input
        [result] = node.output
        product = f"{result}.product" if added else result
        scale = _scale_name(self._bounds[weight])
        name = f"{value}.{scale}"
        if name not in self._bytes:
            self._bytes.add(name)
            yield helper.make_node("QuantizeLinear", [value, scale, "int8.zero"], [name], name)
        parts = f"{result}.sum", f"{result}.float"
        yield helper.make_node("MatMulInteger", [name, f"{weight}.int8", "int8.zero"], [parts[0]], parts[0])
        yield helper.make_node("Cast", [parts[0]], [parts[1]], parts[1], to=TensorProto.FLOAT)
        yield helper.make_node("Mul", [parts[1], f"{weight}.steps"], [product], f"{product}.scaled")
        if added:
            yield helper.make_node("Add", [product, *added], [result], node.name)


def _constants(weights: Mapping[str, NDArray[np.float32]], bounds: Mapping[str, float]) -> list[TensorProto]:
    scales = {_scale_name(bound): np.float32(bound / INPUT_LEVELS) for bound in bounds.values()}
    values: dict[str, NDArray[np.generic]] = {"int8.zero": np.array(ZERO, dtype=np.uint8)}
    values |= {name: np.array(scale) for name, scale in scales.items()}
    for name, weight in weights.items():
        small = columns(weight)
        values[f"{name}.int8"] = small.levels
        values[f"{name}.steps"] = small.steps * scales[_scale_name(bounds[name])]
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def _scale_name(bound: float) -> str:
    return f"int8.within_{bound:g}"
