"""Rewrites a graph so that matrix products with constant weights are products of small integers.

A product x @ w becomes: x as bytes by a scale that is fixed in the graph, times w in steps of its own for each column,
summed in 32 bits without rounding, then scaled back. A scale taken from the values at hand, as dynamic quantisation
has it, would be taken from the whole batch: what a sample looks like would depend on its neighbours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.errors import ExportRefused

PRODUCTS = {"MatMul", "Gemm"}  # a Gemm as torch's exporter makes it of `addmm`: x @ w + what is added
INPUT_LEVELS = 127  # on either side of 0, in unsigned bytes around ZERO
ZERO = 128
# Of the weights, on either side of 0. One bit is left unused: processors without VNNI add two neighbouring products in
# 16 bits, and 2 · (ZERO + INPUT_LEVELS) · 63 still fits there. So the sums are the same on every processor.
WEIGHT_LEVELS = 63


@dataclass(frozen=True, slots=True)
class Columns:
    """A weight in small integers: column j of it is `levels[:, j] * steps[j]`."""

    levels: NDArray[np.int8]  # (inputs, outputs), within ± WEIGHT_LEVELS
    steps: NDArray[np.float32]  # (outputs,)


def columns(weight: NDArray[np.float32]) -> Columns:
    """The nearest levels, each column's largest weight on the last one; a column of zeros stays zeros."""
    steps = np.abs(weight).max(axis=0) / np.float32(WEIGHT_LEVELS)
    safe = np.where(steps > 0, steps, np.float32(1))
    return Columns(np.rint(weight / safe).astype(np.int8), safe.astype(np.float32))


def quantise(model: ModelProto, bounds: Mapping[str, float]) -> ModelProto:
    """The graph with the products by these weights in small integers.

    `bounds` says for each weight, by its name, how large the values that meet it may be; larger ones are cut off, and
    values that are not numbers become some number. Raises ExportRefused where there is no such weight.
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
    """Rewrites nodes one after another; values that several products read are turned into bytes once."""

    def __init__(self, bounds: Mapping[str, float]) -> None:
        self._bounds = bounds
        self._bytes: set[str] = set()

    def rewrite(self, node: NodeProto) -> Iterator[NodeProto]:
        """What stands in the node's place."""
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
