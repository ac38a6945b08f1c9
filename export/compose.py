"""Builds one large graph from small ones that are used many times; far faster than to trace the whole graph."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from export.graphs import IR_VERSION, OPSET


class Composition:
    """A graph under construction; a value is referred to by its name in the graph."""

    def __init__(self, inputs: Sequence[ValueInfoProto]) -> None:
        self._inputs = list(inputs)
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._placed = 0

    def place(self, name: str, part: ModelProto, values: Sequence[str]) -> list[str]:
        """Insert a copy of the part with these values as its inputs; returns the names of its outputs.

        The part's constants are stored once under its name, however often it is placed.
        """
        assert not part.functions, "torch's exporter leaves no functions behind"
        assert len(values) == len(part.graph.input), (name, len(values), len(part.graph.input))
        self._placed += 1
        names = {"": ""} | {inner.name: outer for inner, outer in zip(part.graph.input, values, strict=True)}
        names |= {constant.name: self._keep(name, constant) for constant in part.graph.initializer}
        for node in part.graph.node:
            self._copy(node, names)
        return [names[output.name] for output in part.graph.output]

    def column(self, value: str, index: int) -> str:
        """`value[:, index]`."""
        return self.add("Gather", [value, self.constant(f"at_{index}", np.array(index))], axis=1)

    def cut(self, value: str, count: int, axis: int) -> list[str]:
        """Split the value into `count` equal pieces along an axis."""
        name = f"glue.{len(self._nodes)}"
        pieces = [f"{name}.{index}" for index in range(count)]
        self._nodes.append(helper.make_node("Split", [value], pieces, name, axis=axis, num_outputs=count))
        return pieces

    def join(self, parts: Sequence[str], shape: Sequence[int]) -> str:
        """Concatenate values (batch, …) along the second axis, then reshape to (batch, *shape)."""
        joined = self.add("Concat", parts, axis=1)
        size = "_".join(map(str, shape))
        return self.add("Reshape", [joined, self.constant(f"shape_{size}", np.array([-1, *shape]))])

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant, stored once under its name."""
        self._constants.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def add(self, kind: str, values: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        name = f"glue.{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, values, [name], name, **attributes))
        return name

    def finish(self, name: str, outputs: Mapping[str, str], kinds: Sequence[ValueInfoProto]) -> ModelProto:
        """The finished graph with these values as outputs; `kinds` has their names, types and shapes."""
        for output, value in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [output]))
        graph = helper.make_graph(
            self._nodes, name, self._inputs, list(kinds), list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="smalti",
            ir_version=IR_VERSION,
        )
        onnx.checker.check_model(model)
        return model

    def _copy(self, node: NodeProto, names: dict[str, str]) -> None:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.ClearField("metadata_props")  # torch's note on the node's origin, longer than the node
        copy.ClearField("doc_string")
        names |= {output: f"{self._placed}.{output}" for output in node.output if output}
        copy.name = f"{self._placed}.{node.name}" if node.name else ""
        copy.input[:] = [names[value] for value in node.input]
        copy.output[:] = [names[value] for value in node.output]
        self._nodes.append(copy)

    def _keep(self, part: str, constant: TensorProto) -> str:
        kept = TensorProto()
        kept.CopyFrom(constant)
        kept.name = f"{part}.{constant.name}"
        self._constants.setdefault(kept.name, kept)
        return kept.name
