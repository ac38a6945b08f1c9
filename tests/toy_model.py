"""A toy PixelRNN made of a few ONNX nodes: each pixel depends on a hash of all pixels before it.

It has the inputs and outputs of every `draw_row`, runs in onnxruntime and loads in milliseconds. A lost, repeated or
foreign row changes every later pixel. Two colours can do harm, to test what a bad sample does to others.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from smalti.runtime.draw_row import row_inputs, row_outputs
from smalti.runtime.manifest import MANIFEST, Data, Graph, Manifest, Parity, State, Tensor
from smalti.runtime.signature import Tensors

OPSET = 18
MODULUS = 65521  # of the hash: the largest prime below 2^16
TABLE = 257  # distributions that the hash chooses from
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    """Describes a toy model."""

    name: str = "toy-pixel-rnn"
    version: int = 1
    height: int = 6
    width: int = 5
    colours: int = 7
    poison: int = -1  # after this colour the sample's state, and so its logits, stay NaN
    explosive: int = -1  # must be the last colour: after it onnxruntime refuses the whole batch

    @property
    def states(self) -> tuple[State, ...]:
        """A hash of all pixels so far, and a number that is 0 until the sample is poisoned."""
        return (
            State(input="hash", output="hash_out", type="int64", shape=()),
            State(input="taint", output="taint_out", type="float32", shape=()),
        )

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """As for every `draw_row`, then the states."""
        return (
            *_tensors(row_inputs(self.width)),
            *(Tensor(name=state.input, type=state.type, shape=(-1, *state.shape)) for state in self.states),
        )

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """As for every `draw_row`, then the states."""
        return (
            *_tensors(row_outputs(self.width)),
            *(Tensor(name=state.output, type=state.type, shape=(-1, *state.shape)) for state in self.states),
        )


def _tensors(kinds: Tensors) -> list[Tensor]:
    return [
        Tensor.model_validate({"name": name, "type": kind, "shape": shape})
        for name, (kind, shape) in kinds.items()
    ]


def write_toy_model(root: Path, toy: Toy | None = None) -> Manifest:
    """Put the toy into the model repository `root`; returns its manifest."""
    toy = toy or Toy()
    folder = root / toy.name / str(toy.version)
    folder.mkdir(parents=True)
    content = draw_row_graph(toy).SerializeToString()
    (folder / "draw_row.onnx").write_bytes(content)
    manifest = _manifest(toy, hashlib.sha256(content).hexdigest())
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return manifest


def draw_row_graph(toy: Toy) -> onnx.ModelProto:
    """The graph `draw_row` of a toy."""
    nodes = _Nodes(toy)
    nodes.begin()
    for column in range(toy.width):
        nodes.draw_pixel(column)
    nodes.end()
    graph = helper.make_graph(
        nodes.nodes,
        "draw_row",
        [_value(tensor) for tensor in toy.inputs],
        [_value(tensor) for tensor in toy.outputs],
        [numpy_helper.from_array(value, name) for name, value in _constants(toy).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Nodes:
    """Collects nodes; `hash` and `taint` name the state as it is after the last one."""

    def __init__(self, toy: Toy) -> None:
        self.toy = toy
        self.nodes: list[onnx.NodeProto] = []
        self.hash, self.taint = "hash", "taint"
        self.pixels: list[str] = []
        self.logp: list[str] = []

    def begin(self) -> None:
        """Choose the state of a new sample (a product would keep NaN); then mix the row's number into the hash."""
        fresh_hash = self.add("Where", "reset", "zero", "hash")
        self.taint = self.add("Where", "reset", "clean", "taint")
        self.hash = self._mix(fresh_hash, "row")

    def draw_pixel(self, column: int) -> None:
        """Draw by inverse CDF, or keep the forced pixel."""
        logits = self._logits()  # (B, K)
        uniform, forced = self._column("uniform", column), self._column("forced", column)
        heat = self.add("Unsqueeze", "temperature", "last_axis")
        weights = self.add("Softmax", self.add("Div", logits, heat), axis=-1)
        cumulative = self.add("CumSum", weights, "one")
        total = self.add("ReduceMax", cumulative, "last_axis", keepdims=1)
        below = self.add("Less", cumulative, self.add("Mul", uniform, total))
        drawn = self.add("ReduceSum", self.add("Cast", below, to=TensorProto.INT64), "last_axis", keepdims=1)
        pixel = self.add("Where", self.add("Less", forced, "zero"), drawn, forced)  # (B, 1)
        logp = self.add("GatherElements", self.add("LogSoftmax", logits, axis=-1), pixel, axis=1)
        self.pixels.append(pixel)
        self.logp.append(logp)
        self._remember(self.add("Squeeze", pixel, "last_axis"))

    def end(self) -> None:
        """Name the outputs."""
        self.add("Concat", *self.pixels, output="pixels", axis=1)
        self.add("Concat", *self.logp, output="logp", axis=1)
        self.add("Identity", self.hash, output="hash_out")
        self.add("Identity", self.taint, output="taint_out")

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; returns the name of its output."""
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _logits(self) -> str:
        chosen = self.add("Mod", self.hash, "table_size")
        return self.add(
            "Add", self.add("Gather", "table", chosen), self.add("Unsqueeze", self.taint, "last_axis")
        )

    def _remember(self, pixel: str) -> None:
        self.hash = self._mix(self.hash, pixel)
        if self.toy.poison >= 0:
            self.taint = self.add("Where", self.add("Equal", pixel, "poison"), "nan", self.taint)
        if self.toy.explosive >= 0:
            self.hash = self.add("Add", self.hash, self.add("Gather", "fuse", pixel))

    def _mix(self, old: str, new: str) -> str:
        return self.add(
            "Mod", self.add("Add", self.add("Mul", old, "factor"), self.add("Add", new, "one")), "modulus"
        )

    def _column(self, tensor: str, column: int) -> str:
        return self.add("Gather", tensor, f"column_{column}", axis=1)  # (B, 1)


def _constants(toy: Toy) -> dict[str, np.ndarray]:
    logits = np.random.RandomState(1).normal(scale=1.5, size=(TABLE, toy.colours)).astype(np.float32)
    for colour in (toy.poison, toy.explosive):
        if colour >= 0:
            logits[:, colour] = -30.0  # never drawn by chance
    numbers = {
        "zero": 0,
        "one": 1,
        "factor": 31,
        "modulus": MODULUS,
        "table_size": TABLE,
        "poison": toy.poison,
    }
    return {
        **{name: np.array(number, dtype=np.int64) for name, number in numbers.items()},
        **{f"column_{column}": np.array([column]) for column in range(toy.width)},
        "last_axis": np.array([-1]),
        "table": logits,
        "clean": np.array(0, dtype=np.float32),
        "nan": np.array(np.nan, dtype=np.float32),
        "fuse": np.zeros(toy.colours - 1, dtype=np.int64),  # too short for the explosive colour
    }


def _value(tensor: Tensor) -> onnx.ValueInfoProto:
    shape = ["batch" if size < 0 else size for size in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.type], shape)


def _manifest(toy: Toy, digest: str) -> Manifest:
    return Manifest(
        name=toy.name,
        version=toy.version,
        family="pixel_rnn",
        variant="toy",
        height=toy.height,
        width=toy.width,
        palette=tuple(f"#{colour:06x}" for colour in range(toy.colours)),
        graphs={"draw_row": Graph(file="draw_row.onnx", inputs=toy.inputs, outputs=toy.outputs)},
        states=toy.states,
        files={"draw_row.onnx": digest},
        data=Data(name="none", source="made for tests", licence="Apache-2.0", digest="0", images=0),
        recipe={},
        figures={},
        parity=Parity(max_difference=0.0, images=0, pixels_equal=True),
    )
