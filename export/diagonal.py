"""The diagonal PixelRNN's graphs, each composed of a few traced parts."""

from collections.abc import Sequence

import torch
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

from export import graphs
from export.compose import Composition
from models.diagonal import (
    COPIED_LEFT,
    LEFT,
    DiagonalDrawer,
    DiagonalLayer,
    DiagonalPixelRNN,
    direction_weights,
    take,
)

BATCH = 2  # of the examples: any but 1


def draw_row_graph(drawer: DiagonalDrawer) -> ModelProto:
    """DiagonalDrawer.forward: the four parts are traced, and the row is put together of them."""
    parts = _trace_parts(drawer)
    row = Composition([*_row_inputs(drawer.width), *_state_kinds(drawer, "")])
    ahead, above, recent, leftward, *begun = row.place(
        "opening", parts["opening"], ["reset", "row", *drawer.states]
    )
    pixels, logp, seen, rightward, *used = _place_steps(drawer, row, parts["step"], ahead, above, begun[2:])
    back, recent = row.place("closing", parts["closing"], [pixels, seen, leftward, recent])
    leftward = _place_steps_back(drawer, row, parts["step_back"], back, begun[:2])
    kinds = [
        _kind("pixels", torch.int64, [drawer.width]),
        _kind("logp", torch.float32, [drawer.width]),
        *_state_kinds(drawer, "_out"),
    ]
    found = [pixels, logp, recent, rightward, leftward, *used]
    return row.finish("draw_row", dict(zip((kind.name for kind in kinds), found, strict=True)), kinds)


def _place_steps(
    drawer: DiagonalDrawer, row: Composition, step: ModelProto, ahead: str, above: str, running: list[str]
) -> list[str]:
    """A step for every column: the row's pixels, log-probabilities, features and rightward hidden states, then uses."""
    drawn = []
    for column in range(drawer.width):
        now = [row.column(value, column) for value in (ahead, above, "uniform", "forced")]
        pixel, logp, seen, *running = row.place("step", step, [*now, "temperature", *running])
        drawn.append((pixel, logp, seen, running[1]))
    width = drawer.width
    shapes = [width], [width], [width, drawer.inputs_size], [width, drawer.hidden_size]
    lines = zip(*drawn, strict=True)
    return [*(row.join(line, shape) for line, shape in zip(lines, shapes, strict=True)), *running[3:]]


def _place_steps_back(
    drawer: DiagonalDrawer, row: Composition, step_back: ModelProto, ahead: str, running: list[str]
) -> str:
    """The way back, from the last column to the first: the leftward hidden states of the row."""
    hidden = []
    for column in reversed(range(drawer.width)):
        running = row.place("step_back", step_back, [row.column(ahead, column), *running])
        hidden.append(running[0])
    return row.join(hidden[::-1], [drawer.width, drawer.hidden_size])


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
        self.colours = network.colours
        self.sizes = [layer.hidden for layer in drawer.layers]
        self.rightward = nn.ModuleList(RowLSTM(layer, 0) for layer in drawer.layers)
        self.leftward = nn.ModuleList(RowLSTM(layer, 1) for layer in drawer.layers)
        self.embedding = _constant(network.embedding.weight)
        at_left = [[len(LEFT) + column + across for _, across in LEFT] for column in range(network.width)]
        self.register_buffer("at_left", torch.tensor(at_left), persistent=False)

    at_left: Tensor

    def forward(self, reset: Tensor, row: Tensor, pixels: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Pixels (batch, width) and the state before → log-probabilities (batch, width), and the state after."""
        recent, rightward, leftward, *used = self.opening.begin(reset, *state)
        back_hidden, back_cell, nothing_left, hidden, cell = self.opening.starts(reset)
        left = take(torch.cat([nothing_left, pixels], dim=1), self.at_left)  # (batch, width, 3)
        above = self.opening.pad(recent)
        same = (pixels[:, :, None] == self.step.palette).to(torch.int64)  # (batch, width, colours)
        uses = self.step.logarithm(used[0][:, None] + same.cumsum(dim=1) - same) if used else None
        seen, rightward, leftward = self._layers(
            self._look(left, above, row, uses),
            F.embedding(pixels, self.embedding),
            (rightward, hidden, cell),
            (leftward, back_hidden, back_cell),
        )
        beside = torch.cat([left[:, :, : len(COPIED_LEFT)], take(above, self.opening.copied)], dim=-1)
        logp = self.step.logits(seen, beside, uses).log_softmax(dim=-1).gather(-1, pixels[:, :, None])[..., 0]
        recent = torch.cat([recent[:, 1:], pixels[:, None]], dim=1)
        return logp, recent, rightward, leftward, *(count + same.sum(dim=1) for count in used)

    def _look(self, left: Tensor, above: Tensor, row: Tensor, uses: Tensor | None) -> Tensor:
        """Features before the layers: (batch, width, features)."""
        seen = self.opening.features(above, row)
        seen = seen + F.embedding(left + self.step.offsets, self.step.table).sum(dim=2)
        if self.step.memory is None or uses is None:
            return seen
        return seen + uses @ self.step.memory

    def _layers(
        self, seen: Tensor, own: Tensor, rightward: Sequence[Tensor], leftward: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features after all layers, and both directions' hidden states, of those above and the starts of the row."""
        right_parts, left_parts = (
            list(zip(*(torch.split(part, self.sizes, dim=-1) for part in parts), strict=True))
            for parts in (rightward, leftward)
        )
        residuals = self.opening.residuals(leftward[0])
        rights, lefts = [], []
        for index, residual in enumerate(residuals):
            above_right, above_left = right_parts[index][0], left_parts[index][0]
            known = torch.cat([seen, own, above_left], dim=-1).flip(1)
            lefts.append(self.leftward[index](known, *left_parts[index][1:]).flip(1))
            rights.append(
                self.rightward[index](torch.cat([seen, above_right], dim=-1), *right_parts[index][1:])
            )
            seen = seen + residual + rights[-1] @ self.step.out[index]
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
        self.inputs = _constant(torch.cat(seen).T[None])  # (1, 4·hidden, inputs)
        self.recurrent = _constant(weights.beside.T[None])  # (1, 4·hidden, hidden)
        self.bias = _constant(
            torch.cat([weights.bias, torch.zeros_like(weights.bias)])[None]
        )  # ONNX adds two

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


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone().contiguous(), requires_grad=False)


def _trace_parts(drawer: DiagonalDrawer) -> dict[str, ModelProto]:
    """The drawer's parts as graphs, by examples that flow through them."""
    state = drawer.fresh(BATCH)
    reset, row = torch.tensor([True, False]), torch.zeros(BATCH, dtype=torch.int64)
    opening = [reset, row, *state]
    ahead, above, recent, leftward, *rest = drawer.opening(*opening)
    numbers, forced = torch.ones(BATCH), torch.full((BATCH,), -1)
    step = [ahead[:, 0], above[:, 0], numbers, forced, numbers, *rest[2:]]
    pixel, _, seen, *_ = drawer.step(*step)
    closing = [
        pixel.expand(-1, drawer.width).contiguous(),
        seen[:, None].expand(-1, drawer.width, -1).contiguous(),
        leftward,
        recent,
    ]
    back, _ = drawer.closing(*closing)
    step_back = [back[:, 0], *rest[:2]]
    examples = {"opening": opening, "step": step, "closing": closing, "step_back": step_back}
    return {name: _trace(getattr(drawer, name), example) for name, example in examples.items()}


def _trace(part: nn.Module, example: Sequence[Tensor]) -> ModelProto:
    with torch.no_grad():
        outputs = part(*example)
    return graphs.trace(
        part,
        [value.clone() for value in example],
        inputs=[f"in_{index}" for index in range(len(example))],
        outputs=[f"out_{index}" for index in range(len(outputs))],
    )


def _row_inputs(width: int) -> list[ValueInfoProto]:
    return [
        _kind("reset", torch.bool, []),
        _kind("row", torch.int64, []),
        _kind("uniform", torch.float32, [width]),
        _kind("forced", torch.int64, [width]),
        _kind("temperature", torch.float32, []),
    ]


def _state_kinds(drawer: DiagonalDrawer, suffix: str) -> list[ValueInfoProto]:
    return [
        _kind(f"{name}{suffix}", value.dtype, value.shape[1:])
        for name, value in zip(drawer.states, drawer.fresh(1), strict=True)
    ]


_TYPES = {torch.bool: TensorProto.BOOL, torch.int64: TensorProto.INT64, torch.float32: TensorProto.FLOAT}


def _kind(name: str, kind: torch.dtype, shape: Sequence[int]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[kind], ["batch", *shape])
