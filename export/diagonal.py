"""The diagonal PixelRNN's graphs, each composed of a few traced parts."""

from collections.abc import Sequence

import torch
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

from export import graphs
from export.compose import Composition
from models.diagonal import DiagonalLayer, DiagonalPixelRNN
from models.diagonal_drawer import DiagonalDrawer, Logarithm, direction_weights, put_together
from models.neighbourhood import COPIED_LEFT, LEFT, take
from models.pixel_rnn import constant, log_probabilities
from smalti.runtime.draw_row import row_inputs, row_outputs
from smalti.runtime.signature import Tensors

BATCH = 2  # of the examples: any but 1


def draw_row_graph(drawer: DiagonalDrawer) -> ModelProto:
    """DiagonalDrawer.forward: its parts are traced, and the row is put together of them."""
    inputs = [*_infos(row_inputs(drawer.width)), *_state_kinds(drawer, "")]
    row = Row(drawer, Composition(inputs))
    found = put_together(row, [value.name for value in inputs], len(drawer.layers))
    outputs = [*_infos(row_outputs(drawer.width)), *_state_kinds(drawer, "_out")]
    named = dict(zip((value.name for value in outputs), found, strict=True))
    return row.composition.finish("draw_row", named, outputs)


class Row:
    """Puts a row together in a graph: each part is traced when it is first met, and placed again ever after."""

    def __init__(self, drawer: DiagonalDrawer, composition: Composition) -> None:
        self.composition = composition
        self._drawer = drawer
        self._examples = _examples(drawer)
        self._traced: dict[str, ModelProto] = {}

    def part(self, name: str, values: Sequence[str]) -> Sequence[str]:
        """What the drawer's part of this name gives for these values."""
        if name not in self._traced:
            self._traced[name] = _trace(getattr(self._drawer, name), self._examples[name])
        return self.composition.place(name, self._traced[name], values)

    def cut(self, value: str, axis: int) -> Sequence[str]:
        """The columns' parts of a value."""
        return self.composition.cut(value, self._drawer.width, axis)

    def join(self, pieces: Sequence[str], axis: int) -> str:
        """The columns' parts one after another."""
        return self.composition.add("Concat", pieces, axis=axis)


def _examples(drawer: DiagonalDrawer) -> dict[str, Sequence[Tensor]]:
    """Values that flow through each part when it draws a row."""
    met = Watched(drawer)
    numbers = torch.ones(BATCH, drawer.width)
    given = [torch.tensor([True, False]), torch.zeros(BATCH, dtype=torch.int64), numbers, -numbers.long()]
    with torch.no_grad():
        put_together(met, [*given, torch.ones(BATCH), *drawer.fresh(BATCH)], len(drawer.layers))
    return met.examples


class Watched:
    """Puts a row together in torch, and keeps what each part was given first."""

    def __init__(self, drawer: DiagonalDrawer) -> None:
        self.examples: dict[str, Sequence[Tensor]] = {}
        self.cut, self.join = drawer.cut, drawer.join
        self._drawer = drawer

    def part(self, name: str, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """What the drawer's part of this name gives for these values."""
        self.examples.setdefault(name, [value.clone() for value in values])
        return self._drawer.part(name, values)


def score_graph(network: DiagonalPixelRNN, drawer: DiagonalDrawer) -> ModelProto:
    """pixels (batch, height, width) → logp: a row's pixels are known, so ONNX's LSTM runs through each row at once."""
    height, width = network.height, network.width
    pixels = torch.zeros(BATCH, height, width, dtype=torch.int64)
    begin, read_row = Begin(drawer), ReadRow(network, drawer)
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
    """pixels → true, false and the rows' numbers for every image, and a state of any value."""

    def __init__(self, drawer: DiagonalDrawer) -> None:
        super().__init__()
        self.height = drawer.height
        self.shapes = [(value.dtype, tuple(value.shape[1:])) for value in drawer.fresh(1)]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """All made of the first pixel times 0, which asks for no shape."""
        zero = pixels[:, 0, 0] * 0
        rows = zero[:, None] + torch.arange(self.height)
        state = [
            zero.to(kind).reshape(-1, *[1] * len(shape)) + torch.zeros(shape, dtype=kind)
            for kind, shape in self.shapes
        ]
        return zero == 0, zero > 0, rows, *state


class ReadRow(nn.Module):
    """DiagonalDrawer.forward for a row whose pixels are all given: each layer reads it from end to end."""

    def __init__(self, network: DiagonalPixelRNN, drawer: DiagonalDrawer) -> None:
        super().__init__()
        self.opening, self.step = drawer.opening, drawer.step
        self.sizes = [layer.hidden for layer in drawer.layers]
        self.logarithm = Logarithm(network) if drawer.memory else None
        self.rightward = nn.ModuleList(RowLSTM(layer, 0) for layer in drawer.layers)
        self.leftward = nn.ModuleList(RowLSTM(layer, 1) for layer in drawer.layers)
        self.embedding = constant(network.embedding.weight)
        at_left = [[len(LEFT) + column + across for _, across in LEFT] for column in range(network.width)]
        self.register_buffer("at_left", torch.tensor(at_left), persistent=False)
        self.register_buffer("palette", torch.arange(network.colours), persistent=False)

    at_left: Tensor
    palette: Tensor

    def forward(self, reset: Tensor, row: Tensor, pixels: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Pixels (batch, width) and the state before → log-probabilities (batch, width), and the state after."""
        recent, rightward, leftward, *used = self.opening.begin(reset, *state)
        starts = self.opening.starts(reset)
        outside = [self.opening.start(reset, self.opening.nothing)] * len(LEFT)
        left = take(torch.cat([*outside, pixels], dim=1), self.at_left)  # (batch, width, 3)
        above = self.opening.pad(reset, recent)
        same = (pixels[:, :, None] == self.palette).to(torch.int64)  # (batch, width, colours)
        uses = self.logarithm(used[0][:, None] + same.cumsum(dim=1) - same) if self.logarithm else None
        own = F.embedding(pixels, self.embedding)
        seen, rightward, leftward = self._layers(
            self._look(left, above, row, uses), own, rightward, leftward, starts
        )
        beside = torch.cat([left[:, :, : len(COPIED_LEFT)], take(above, self.opening.copied)], dim=-1)
        logp = log_probabilities(self.step.logits(seen, torch.split(beside, 1, dim=-1), uses), pixels)
        recent = torch.cat([recent[:, 1:], pixels[:, None]], dim=1)
        return logp, recent, rightward, leftward, *(count + same.sum(dim=1) for count in used)

    def _look(self, left: Tensor, above: Tensor, row: Tensor, uses: Tensor | None) -> Tensor:
        """Features before the layers: (batch, width, features)."""
        seen = self.opening.features(above, row)
        for place, table in enumerate(self.step.tables):
            seen = seen + F.embedding(left[:, :, place], table)
        if self.step.memory is None or uses is None:
            return seen
        return seen + uses @ self.step.memory

    def _layers(
        self, seen: Tensor, own: Tensor, rightward: Tensor, leftward: Tensor, starts: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features after all layers, and both directions' hidden states, by those above and the starts of the row."""
        count = len(self.sizes)
        above_left = torch.split(leftward, self.sizes, dim=-1)
        layers = zip(
            self.rightward,
            self.leftward,
            torch.split(rightward, self.sizes, dim=-1),
            above_left,
            self.opening.residuals(above_left),
            self.step.out,
            zip(*(starts[kind * count : (kind + 1) * count] for kind in range(4)), strict=True),
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
    """One direction of a layer along a row, as ONNX's LSTM: what comes from above is a part of its input.

    For export only: torch's own LSTM is exported as a loop, and this one computes nothing in torch.
    """

    def __init__(self, layer: DiagonalLayer, direction: int) -> None:
        super().__init__()
        weights = direction_weights(layer, direction)
        seen = [weights.seen, *([layer.own.weight.T] if direction == 1 else []), weights.above]
        self.hidden = layer.hidden
        self.inputs = constant(torch.cat(seen).T[None])  # (1, 4·hidden, inputs)
        self.recurrent = constant(weights.beside.T[None])  # (1, 4·hidden, hidden)
        self.bias = constant(torch.cat([weights.bias, torch.zeros_like(weights.bias)])[None])  # ONNX adds two

    def forward(self, known: Tensor, hidden: Tensor, cell: Tensor) -> Tensor:
        """Inputs (batch, width, …), hidden states and cells (batch, hidden) before → (batch, width, hidden)."""
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
