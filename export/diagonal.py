"""Builds the diagonal PixelRNN's graphs, each from a few traced parts."""

from collections.abc import Sequence

import torch
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

from export import graphs
from export.compose import Composition
from export.graphs import EXAMPLE_BATCH
from models.diagonal import DiagonalPixelRNN
from models.diagonal_drawer import DiagonalDrawer
from models.diagonal_parts import Logarithm, Starts
from models.diagonal_row import State, assemble_row
from models.diagonal_weights import DiagonalWeights, LayerWeights
from models.neighbourhood import COPIED_LEFT, LEFT, take
from models.pixel_rnn import constant, log_probabilities
from smalti.runtime.draw_row import GRAPH, row_inputs, row_outputs
from smalti.runtime.signature import Tensors


def draw_row_graph(drawer: DiagonalDrawer) -> ModelProto:
    """The graph of DiagonalDrawer.forward: its parts are traced, and a row is composed of them."""
    inputs = [*_infos(row_inputs(drawer.width)), *_state_kinds(drawer, "")]
    row = Row(drawer, Composition(inputs))
    found = assemble_row(row, [value.name for value in inputs], drawer.layers)
    outputs = [*_infos(row_outputs(drawer.width)), *_state_kinds(drawer, "_out")]
    named = dict(zip((value.name for value in outputs), found, strict=True))
    return row.composition.finish(GRAPH, named, outputs)


class Row:
    """Composes a row in a graph: each part is traced once, and then placed as often as it is used."""

    def __init__(self, drawer: DiagonalDrawer, composition: Composition) -> None:
        self.composition = composition
        self._drawer = drawer
        self._examples = _examples(drawer)
        self._traced: dict[str, ModelProto] = {}

    def part(self, name: str, values: Sequence[str]) -> Sequence[str]:
        """The outputs of the drawer's part of this name for these values."""
        if name not in self._traced:
            self._traced[name] = _trace(getattr(self._drawer, name), self._examples[name])
        return self.composition.place(name, self._traced[name], values)

    def cut(self, value: str, axis: int) -> Sequence[str]:
        """Split a value into its columns."""
        return self.composition.cut(value, self._drawer.width, axis)

    def join(self, pieces: Sequence[str], axis: int) -> str:
        """Join the columns again."""
        return self.composition.add("Concat", pieces, axis=axis)


def _examples(drawer: DiagonalDrawer) -> dict[str, Sequence[Tensor]]:
    """Example inputs of each part, taken from drawing a row."""
    met = Watched(drawer)
    numbers = torch.ones(EXAMPLE_BATCH, drawer.width)
    given = [
        torch.tensor([True, False]),
        torch.zeros(EXAMPLE_BATCH, dtype=torch.int64),
        numbers,
        -numbers.long(),
    ]
    with torch.no_grad():
        assemble_row(met, [*given, torch.ones(EXAMPLE_BATCH), *drawer.fresh(EXAMPLE_BATCH)], drawer.layers)
    return met.examples


class Watched:
    """Composes a row in torch, and keeps the first inputs of each part."""

    def __init__(self, drawer: DiagonalDrawer) -> None:
        self.examples: dict[str, Sequence[Tensor]] = {}
        self.cut, self.join = drawer.cut, drawer.join
        self._drawer = drawer

    def part(self, name: str, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """The outputs of the drawer's part of this name for these values."""
        self.examples.setdefault(name, [value.clone() for value in values])
        return self._drawer.part(name, values)


def score_graph(network: DiagonalPixelRNN, drawer: DiagonalDrawer) -> ModelProto:
    """pixels (batch, height, width) → logp. All pixels of a row are known, so ONNX's LSTM reads a row in one run."""
    height, width = network.height, network.width
    pixels = torch.zeros(EXAMPLE_BATCH, height, width, dtype=torch.int64)
    begin, read_row = Begin(drawer), ReadRow(network.weights(), drawer)
    reset, _, rows, *state = begin(pixels)
    parts = {
        "begin": _trace(begin, [pixels]),
        "read_row": _trace(read_row, [reset, rows[:, 0], pixels[:, 0], *state]),
    }
    images = Composition([_kind("pixels", torch.int64, [height, width])])
    reset_name, again_name, rows_name, *names = images.place("begin", parts["begin"], ["pixels"])
    logps = []
    for row in range(height):
        now = [images.column(value, row) for value in (rows_name, "pixels")]
        first = reset_name if row == 0 else again_name
        logp, *names = images.place("read_row", parts["read_row"], [first, *now, *names])
        logps.append(logp)
    return images.finish(
        "score",
        {"logp": images.join(logps, [height, width])},
        [_kind("logp", torch.float32, [height, width])],
    )


class Begin(nn.Module):
    """pixels → true, false and the row numbers for every image, then states of any value."""

    def __init__(self, drawer: DiagonalDrawer) -> None:
        super().__init__()
        self.height = drawer.height
        self.shapes = [(value.dtype, tuple(value.shape[1:])) for value in drawer.fresh(1)]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Everything is made from the first pixel times 0, so that the graph does not need the batch's size."""
        zero = pixels[:, 0, 0] * 0
        rows = zero[:, None] + torch.arange(self.height)
        state = [
            zero.to(kind).reshape(-1, *[1] * len(shape)) + torch.zeros(shape, dtype=kind)
            for kind, shape in self.shapes
        ]
        return zero == 0, zero > 0, rows, *state


class ReadRow(nn.Module):
    """DiagonalDrawer.forward for a row whose pixels are all given: each layer reads the whole row in one run."""

    def __init__(self, weights: DiagonalWeights, drawer: DiagonalDrawer) -> None:
        super().__init__()
        self.opening, self.step = drawer.opening, drawer.step
        self.sizes = [layer.hidden for layer in weights.layers]
        self.logarithm = Logarithm(weights) if drawer.memory else None
        self.rightward = nn.ModuleList(RowLSTM(layer, leftward=False) for layer in weights.layers)
        self.leftward = nn.ModuleList(RowLSTM(layer, leftward=True) for layer in weights.layers)
        self.embedding = constant(weights.embedding)
        at_left = [[len(LEFT) + column + across for _, across in LEFT] for column in range(weights.width)]
        self.register_buffer("at_left", torch.tensor(at_left), persistent=False)
        self.register_buffer("palette", torch.arange(weights.colours), persistent=False)

    at_left: Tensor
    palette: Tensor

    def forward(self, reset: Tensor, row: Tensor, pixels: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Pixels (batch, width) and the state before → log-probabilities (batch, width), and the state after."""
        before = self.opening.begin(reset, State.of(state))
        starts = self.opening.starts(reset)
        outside = [self.opening.start(reset, self.opening.nothing)] * len(LEFT)
        left = take(torch.cat([*outside, pixels], dim=1), self.at_left)  # (batch, width, 3)
        above = self.opening.pad(reset, before.recent)
        same = (pixels[:, :, None] == self.palette).to(torch.int64)  # (batch, width, colours)
        uses = self._uses(before.used, same)
        own = F.embedding(pixels, self.embedding)
        seen, rightward, leftward = self._layers(
            self._look(left, above, row, uses), own, before.rightward, before.leftward, starts
        )
        beside = torch.cat([left[:, :, : len(COPIED_LEFT)], take(above, self.opening.copied)], dim=-1)
        logp = log_probabilities(self.step.logits(seen, torch.split(beside, 1, dim=-1), uses), pixels)
        recent = torch.cat([before.recent[:, 1:], pixels[:, None]], dim=1)
        used = None if before.used is None else before.used + same.sum(dim=1)
        return logp, *State(recent, rightward, leftward, used).flat()

    def _uses(self, used: Tensor | None, same: Tensor) -> Tensor | None:
        """log(1 + uses) of every colour before each pixel: (batch, width, colours)."""
        if self.logarithm is None or used is None:
            return None
        uses: Tensor = self.logarithm(used[:, None] + same.cumsum(dim=1) - same)
        return uses

    def _look(self, left: Tensor, above: Tensor, row: Tensor, uses: Tensor | None) -> Tensor:
        """The features before the first layer: (batch, width, features)."""
        seen = self.opening.features(above, row)
        for place, table in enumerate(self.step.tables):
            seen = seen + F.embedding(left[:, :, place], table)
        if self.step.memory is None or uses is None:
            return seen
        return seen + uses @ self.step.memory

    def _layers(
        self, seen: Tensor, own: Tensor, rightward: Tensor, leftward: Tensor, starts: Starts
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The features after all layers and the hidden states of both directions.

        They follow from the hidden states of the row above, and from `starts`, the states at the row's two ends.
        """
        above_left = torch.split(leftward, self.sizes, dim=-1)
        layers = zip(
            self.rightward,
            self.leftward,
            torch.split(rightward, self.sizes, dim=-1),
            above_left,
            self.opening.residuals(above_left),
            self.step.out,
            zip(*starts.rightward, *starts.leftward, strict=True),
            strict=True,
        )
        rights, lefts = [], []
        for right, left, above, behind, residual, out, (hidden, cell, back_hidden, back_cell) in layers:
            known = torch.cat([seen, own, behind], dim=-1).flip(1)
            lefts.append(left(known, back_hidden, back_cell).flip(1))
            rights.append(right(torch.cat([seen, above], dim=-1), hidden, cell))
            seen = seen + residual + rights[-1] @ out
        return seen, torch.cat(rights, dim=-1), torch.cat(lefts, dim=-1)


class RowLSTM(nn.Module):
    """One direction of a layer along a row, as ONNX's LSTM; the hidden state above is part of its input.

    For export only, it computes nothing in torch. (torch's own LSTM would be exported as a loop.)
    """

    def __init__(self, layer: LayerWeights, *, leftward: bool) -> None:
        super().__init__()
        weights = layer.leftward if leftward else layer.rightward
        seen = [weights.seen, *([layer.own] if leftward else []), weights.above]
        self.hidden = layer.hidden
        self.inputs = constant(torch.cat(seen).T[None])  # (1, 4·hidden, inputs)
        self.recurrent = constant(weights.beside.T[None])  # (1, 4·hidden, hidden)
        self.bias = constant(torch.cat([weights.bias, torch.zeros_like(weights.bias)])[None])  # ONNX adds two

    def forward(self, known: Tensor, hidden: Tensor, cell: Tensor) -> Tensor:
        """Inputs (batch, width, …), first hidden states and cells (batch, hidden) → (batch, width, hidden)."""
        batch, width = known.shape[:2]
        read = torch.onnx.ops.symbolic(
            "LSTM",
            [known.transpose(0, 1), self.inputs, self.recurrent, self.bias, None, hidden[None], cell[None]],
            {"hidden_size": self.hidden},
            dtype=known.dtype,
            shape=(width, 1, batch, self.hidden),
        )
        return read[:, 0].transpose(0, 1)


def _trace(part: nn.Module, example: Sequence[Tensor]) -> ModelProto:
    with torch.no_grad():
        outputs = part(*example)
    return graphs.trace(
        part,
        [value.clone() for value in example],
        inputs=[f"in_{index}" for index in range(len(example))],
        outputs=[f"out_{index}" for index in range(len(outputs))],
    )


def _infos(tensors: Tensors) -> list[ValueInfoProto]:
    return [_kind(name, getattr(torch, kind), shape[1:]) for name, (kind, shape) in tensors.items()]


def _state_kinds(drawer: DiagonalDrawer, suffix: str) -> list[ValueInfoProto]:
    return [
        _kind(f"{name}{suffix}", value.dtype, value.shape[1:])
        for name, value in zip(drawer.states, drawer.fresh(1), strict=True)
    ]


_TYPES = {torch.bool: TensorProto.BOOL, torch.int64: TensorProto.INT64, torch.float32: TensorProto.FLOAT}


def _kind(name: str, kind: torch.dtype, shape: Sequence[int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[kind], ["batch", *shape])
