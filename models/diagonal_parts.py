"""The parts of a row of the diagonal PixelRNN: `diagonal_row` says what each takes and gives, and in which order.

An exporter traces each part once and places it as often as it occurs.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.diagonal_row import (
    GATES,
    Closed,
    ClosingInput,
    Columns,
    LayerStates,
    Opened,
    RowInput,
    Running,
    State,
    StepBackInput,
    StepInput,
    Stepped,
    Uses,
)
from models.diagonal_weights import DiagonalWeights
from models.neighbourhood import ABOVE, COPIED_ABOVE, COPIED_LEFT, LEFT, REACH, places_above, take
from models.pixel_rnn import advance, constant, constants, draw_pixel, row_log_probabilities, undrawn


class Starts(NamedTuple):
    """What stands beside a row: the learned states before its first pixel, for every slot."""

    rightward: LayerStates[Tensor]
    leftward: LayerStates[Tensor]


class Opening(nn.Module):
    """Computes what depends only on the rows above, for all columns at once."""

    def __init__(self, weights: DiagonalWeights) -> None:
        super().__init__()
        layers = weights.layers
        self.outside = weights.colours
        self.sizes = [layer.hidden for layer in layers]
        self.table = constant(weights.table[len(LEFT) * (weights.colours + 1) :])
        self.bias = constant(weights.bias)
        self.position = weights.position is not None
        if weights.position:
            self.rows = constant(weights.position.rows)
            self.columns = constant(weights.position.columns)
        self.above = nn.ModuleList(
            Product(layer.rightward.above, layer.rightward.bias, GATES) for layer in layers
        )
        self.out = nn.ModuleList(Product(layer.out, layer.out_bias) for layer in layers)
        self.hidden = constants(layer.rightward.start_hidden for layer in layers)
        self.cell = constants(layer.rightward.start_cell for layer in layers)
        self.back_hidden = constants(layer.leftward.start_hidden for layer in layers)
        self.back_cell = constants(layer.leftward.start_cell for layer in layers)
        self.logarithm = Logarithm(weights) if weights.memory is not None else None
        self.register_buffer("window", places_above(weights.width, ABOVE), persistent=False)
        self.register_buffer("copied", places_above(weights.width, COPIED_ABOVE), persistent=False)
        offsets = torch.arange(len(ABOVE)) * (weights.colours + 1)
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("nothing", torch.full((1,), weights.colours), persistent=False)
        self.register_buffer("beside", torch.full((REACH, REACH), weights.colours), persistent=False)

    window: Tensor
    copied: Tensor
    offsets: Tensor
    nothing: Tensor
    beside: Tensor

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """RowInput → Opened."""
        given = RowInput.of(values)
        state = self.begin(given.reset, given.state)
        padded = self.pad(given.reset, state.recent)
        above, leftward = self.lines(state.rightward), self.lines(state.leftward)
        columns = Columns(
            features=by_column(self.features(padded, given.row)),
            gates=[product(line) for line, product in zip(above, self.above, strict=True)],
            residuals=self.residuals(leftward),
            copied=by_column(take(padded, self.copied)),
        )
        starts = self.starts(given.reset)
        opened = Opened(
            temperature=given.temperature[:, None],
            number=undrawn(given.uniform, given.forced),
            columns=columns,
            recent=state.recent,
            leftward=leftward,
            leftward_start=starts.leftward,
            running=Running(
                left=[self.start(given.reset, self.nothing)] * len(LEFT),
                rightward=starts.rightward,
                uses=self._uses(state),
            ),
        )
        return tuple(opened.flat())

    def _uses(self, state: State[Tensor]) -> Uses[Tensor] | None:
        if self.logarithm is None or state.used is None:
            return None
        return Uses(state.used, self.logarithm(state.used))

    def begin(self, reset: Tensor, state: State[Tensor]) -> State[Tensor]:
        """The state, or an initial state where `reset` is true. By Where, not multiplication, since 0 × NaN is NaN."""
        zero = state.rightward.new_zeros(1)
        recent = torch.where(reset[:, None, None], self.outside, state.recent)
        rightward = torch.where(reset[:, None, None], zero, state.rightward)
        leftward = torch.where(reset[:, None, None], zero, state.leftward)
        used = None if state.used is None else torch.where(reset[:, None], 0, state.used)
        return State(recent, rightward, leftward, used)

    def starts(self, reset: Tensor) -> Starts:
        """The learned states beside a row, for every slot."""
        hidden, cells, back_hidden, back_cells = (
            [self.start(reset, value) for value in layers]
            for layers in (self.hidden, self.cell, self.back_hidden, self.back_cell)
        )
        return Starts(LayerStates(hidden, cells), LayerStates(back_hidden, back_cells))

    def start(self, reset: Tensor, value: Tensor) -> Tensor:
        """The value (size,) for every slot (slots, size).

        Where chooses between two equal values, so no shape is needed: a graph with shape nodes runs partly on the CPU.
        """
        return torch.where(reset[:, None], value, value)

    def pad(self, reset: Tensor, recent: Tensor) -> Tensor:
        """The recent rows, one after another, with the colour for outside at both sides: (slots, padded).

        By concatenation: onnxruntime cannot pad integers on a GPU, and a node on the CPU prevents CUDA graphs.
        """
        beside = self.start(reset[:, None], self.beside)  # (slots, REACH, REACH)
        return torch.cat([beside, recent, beside], dim=2).flatten(1)

    def features(self, padded: Tensor, row: Tensor) -> Tensor:
        """Every column's features, as far as the rows above decide them: (slots, width, features)."""
        symbols = take(padded, self.window) + self.offsets  # (slots, width, neighbours)
        seen = F.embedding(symbols, self.table).sum(dim=2) + self.bias
        if self.position:
            seen = seen + F.embedding(row, self.rows)[:, None] + self.columns
        return seen

    def lines(self, states: Tensor) -> list[Tensor]:
        """Hidden states of a row (slots, width, all hidden) → each layer's, (width · slots, hidden)."""
        return list(torch.split(by_column(states), self.sizes, dim=1))

    def residuals(self, leftward: Iterable[Tensor]) -> list[Tensor]:
        """What each layer's leftward states (…, hidden) of the row above add to the features."""
        return [out(line)[0] for line, out in zip(leftward, self.out, strict=True)]


class Step(nn.Module):
    """Draws one pixel of every slot."""

    def __init__(self, weights: DiagonalWeights) -> None:
        super().__init__()
        layers, head = weights.layers, weights.head
        self.count, self.colours = len(layers), weights.colours
        self.copied, self.strengths = head.copied, head.strengths
        self.tables = constants(weights.table[: len(LEFT) * (weights.colours + 1)].chunk(len(LEFT)))
        self.gates = nn.ModuleList(
            Gates(torch.cat([layer.rightward.seen, layer.rightward.beside])) for layer in layers
        )
        self.out = constants(layer.out for layer in layers)
        self.first, self.first_bias = constant(head.first), constant(head.first_bias)
        self.second, self.second_bias = (
            constant(_with_outside(part, weights.colours)) for part in (head.second, head.second_bias)
        )
        self.memory = None if weights.memory is None else constant(weights.memory)
        self.logarithm = Logarithm(weights) if weights.memory is not None else None

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """StepInput → Stepped."""
        now = StepInput.of(values, self.count)
        left, uses = now.running.left, now.running.uses
        seen = now.column.features
        for neighbour, table in zip(left, self.tables, strict=True):
            seen = seen + F.embedding(neighbour[:, 0], table)
        if self.memory is not None and uses is not None:
            seen = torch.addmm(seen, uses.logarithms, self.memory)
        seen, layer_inputs, rightward = self._layers(seen, now)
        beside = [*left[: len(COPIED_LEFT)], *torch.split(now.column.copied, 1, dim=1)]
        logits = self.logits(seen, beside, uses.logarithms if uses else None)
        pixel = draw_pixel(logits, now.number, now.forced, now.temperature)
        running = Running([pixel, *left[:-1]], rightward, self._count(pixel, uses))
        return tuple(Stepped(pixel, logits, layer_inputs, running).flat())

    def _layers(
        self, seen: Tensor, now: StepInput[Tensor]
    ) -> tuple[Tensor, list[Tensor], LayerStates[Tensor]]:
        """Features after all layers, the features that each layer read, and the rightward states after the pixel."""
        inputs, hidden, cells = [], [], []
        before = now.running.rightward
        for layer, out in enumerate(self.out):
            inputs.append(seen)
            known = torch.cat([seen, before.hidden[layer]], dim=1)
            state, cell = self.gates[layer](now.column.gates[layer], known, before.cells[layer])
            hidden.append(state)
            cells.append(cell)
            seen = torch.addmm(seen + now.column.residuals[layer], state, out)
        return seen, inputs, LayerStates(hidden, cells)

    def _count(self, pixel: Tensor, uses: Uses[Tensor] | None) -> Uses[Tensor] | None:
        """The uses of all colours, one more of the pixel's."""
        if self.logarithm is None or uses is None:
            return None
        count = uses.counts.gather(1, pixel) + 1
        return Uses(
            uses.counts.scatter(1, pixel, count), uses.logarithms.scatter(1, pixel, self.logarithm(count))
        )

    def logits(self, seen: Tensor, beside: Sequence[Tensor], uses: Tensor | None) -> Tensor:
        """As Head: (…, features), each of the colours beside (…, 1), log(1 + uses) (…, colours) → (…, colours)."""
        inner = (seen.relu() @ self.first + self.first_bias).relu()
        found = inner @ self.second + self.second_bias
        sizes = [self.colours + 1, *[1] * (self.copied + self.strengths)]
        logits, *strengths = torch.split(found, sizes, dim=-1)
        if self.copied:
            # One at a time: if several go to one colour, a GPU adds them in any order. Outside has a place of its own.
            for colour, strength in zip(beside, strengths, strict=False):
                logits = logits.scatter_add(-1, colour, strength)
        logits = logits[..., : self.colours]
        if uses is not None:
            ever, often = strengths[self.copied :]
            logits = logits + ever * uses.sign() + often * uses
        return logits


class Closing(nn.Module):
    """Prepares the leftward pass over a finished row, for every column at once."""

    def __init__(self, weights: DiagonalWeights) -> None:
        super().__init__()
        directions = [layer.leftward for layer in weights.layers]
        self.weights = nn.ModuleList(
            Product(torch.cat([leftward.seen, leftward.above]), None, GATES) for leftward in directions
        )
        own = [weights.embedding[:-1] @ layer.own for layer in weights.layers]
        biased = (table + leftward.bias for table, leftward in zip(own, directions, strict=True))
        self.own = nn.ModuleList(Table(table, GATES) for table in biased)  # one row for each colour

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """ClosingInput → Closed."""
        row = ClosingInput.of(values, len(self.weights))
        drawn = row.pixels.T.flatten()
        layers = zip(row.layer_inputs, row.leftward, self.weights, self.own, strict=True)
        gates = [weight(torch.cat([seen, above], dim=1), own(drawn)) for seen, above, weight, own in layers]
        logp = row_log_probabilities(row.logits, row.pixels)
        recent = torch.cat([row.recent[:, 1:], row.pixels[:, None]], dim=1)
        return tuple(Closed(row.pixels, logp, gates, recent).flat())


class StepBack(nn.Module):
    """One pixel of the leftward pass, all layers."""

    def __init__(self, weights: DiagonalWeights) -> None:
        super().__init__()
        self.gates = nn.ModuleList(Gates(layer.leftward.beside) for layer in weights.layers)

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """StepBackInput → LayerStates, one column further."""
        now = StepBackInput.of(values, len(self.gates))
        layers = zip(self.gates, now.gates, now.leftward.hidden, now.leftward.cells, strict=True)
        after = [gates(begun, hidden, cell) for gates, begun, hidden, cell in layers]
        return tuple(LayerStates(*zip(*after, strict=True)).flat())


class Ending(nn.Module):
    """Puts a row's hidden states into the order of the state, as the next row's opening takes them."""

    def __init__(self, weights: DiagonalWeights) -> None:
        super().__init__()
        self.width = weights.width

    def forward(self, *lines: Tensor) -> tuple[Tensor, Tensor]:
        """The layers' rightward states (width · slots, hidden), then the leftward ones → both as the state has them."""
        half = len(lines) // 2
        return self._by_slot(lines[:half]), self._by_slot(lines[half:])

    def _by_slot(self, lines: Sequence[Tensor]) -> Tensor:
        states = torch.cat(list(lines), dim=1)
        return states.reshape(self.width, -1, states.shape[1]).transpose(0, 1)


class Gates(nn.Module):
    """An LSTM's gates; a part of their sums is known already."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = constants(weights.chunk(GATES, dim=1))

    def forward(self, begun: Sequence[Tensor], known: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Four sums so far (slots, hidden), inputs (slots, …) and cell → hidden state and cell."""
        return advance(begun, known, self.weights, cell)


class Product(nn.Module):
    """Products with a matrix that is cut into column blocks, plus a bias or plus values given with each call."""

    def __init__(self, weights: Tensor, bias: Tensor | None, parts: int = 1) -> None:
        super().__init__()
        self.weights = constants(weights.chunk(parts, dim=1))
        self.biases = None if bias is None else constants(bias.chunk(parts))

    def forward(self, values: Tensor, added: Iterable[Tensor] = ()) -> list[Tensor]:
        """(…, inputs), and (rows, outputs) for each part → (…, outputs) for each part."""
        if self.biases is None:
            return [
                torch.addmm(more, values, weight) for more, weight in zip(added, self.weights, strict=True)
            ]
        return [values @ weight + bias for weight, bias in zip(self.weights, self.biases, strict=True)]


class Table(nn.Module):
    """A table that is cut into column blocks; its rows are looked up."""

    def __init__(self, rows: Tensor, parts: int) -> None:
        super().__init__()
        self.parts = constants(rows.chunk(parts, dim=1))

    def forward(self, index: Tensor) -> list[Tensor]:
        """(count,) int64 → (count, size) for each part."""
        return [F.embedding(index, part) for part in self.parts]


class Logarithm(nn.Module):
    """log(1 + count) from a table: the bits of ONNX Runtime's Log depend on the number's place in the batch."""

    def __init__(self, weights: DiagonalWeights) -> None:
        super().__init__()
        counts = torch.arange(weights.height * weights.width + 1)
        self.register_buffer("table", counts.to(weights.bias.dtype).log1p()[:, None], persistent=False)

    table: Tensor

    def forward(self, used: Tensor) -> Tensor:
        """Counts of any shape int64 → the same shape."""
        return F.embedding(used, self.table)[..., 0]


def by_column(values: Tensor) -> Tensor:
    """(slots, width, size) → (width · slots, size)."""
    return values.transpose(0, 1).flatten(0, 1)


def _with_outside(values: Tensor, colours: int) -> Tensor:
    """Add a zero column for "outside of the image" behind the colours: (…, outputs) → (…, outputs + 1)."""
    before, after = values[..., :colours], values[..., colours:]
    return torch.cat([before, values.new_zeros(*values.shape[:-1], 1), after], dim=-1)
