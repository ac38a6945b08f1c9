"""How the diagonal PixelRNN (models/diagonal.py) draws: its step path, a row of every slot at a time.

A row is put together of a few parts, so that an exporter can trace each once and place it as often as it occurs.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.neighbourhood import ABOVE, COPIED_ABOVE, COPIED_LEFT, LEFT, REACH, places_above, take
from models.pixel_rnn import advance, constant, constants, draw_pixel, row_log_probabilities, undrawn

if TYPE_CHECKING:  # the network makes its drawer, and imports it
    from models.diagonal import DiagonalLayer, DiagonalPixelRNN

GATES = 4
_FORCED = 3  # its place among the inputs of a row


class DiagonalDrawer(nn.Module):
    """DiagonalPixelRNN's step path.

    State: the `recent` rows of pixels, `rightward` and `leftward` hidden states of the row above, and, with a colour
    memory, how often each colour was `used`. Nothing grows with the image.

    Within a row, what belongs to all columns stands column after column, (width · slots, size): so a column's part of
    it is one piece of memory. The row is put together (`put_together`) of parts that an exporter can take apart.
    """

    def __init__(self, network: "DiagonalPixelRNN") -> None:
        super().__init__()
        self.height, self.width, self.colours = network.height, network.width, network.colours
        self.layers = _layers(network)
        self.hidden_size = sum(layer.hidden for layer in self.layers)  # of all layers together
        self.memory = network.memory is not None
        self.states = ("recent", "rightward", "leftward", *(("used",) if self.memory else ()))
        with torch.no_grad():
            self.opening = Opening(network)
            self.step = Step(network)
            self.closing = Closing(network)
            self.step_back = StepBack(network)
            self.ending = Ending(network)
        self.to(network.bias.device).eval()

    def fresh(self, slots: int) -> tuple[Tensor, ...]:
        """State tensors for so many slots; `reset` makes them a beginning."""
        device = self.opening.table.device
        lines = torch.zeros(slots, self.width, self.hidden_size, device=device)
        recent = torch.zeros(slots, REACH, self.width, dtype=torch.int64, device=device)
        used = torch.zeros(slots, self.colours, dtype=torch.int64, device=device)
        return (recent, lines, lines, used)[: len(self.states)]

    def forward(
        self, reset: Tensor, row: Tensor, uniform: Tensor, forced: Tensor, temperature: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """Advance every slot by one row: pixels and log-probabilities (slots, width), then the state after it."""
        given = [reset, row, uniform, forced, temperature, *state]
        return tuple(put_together(self, given, len(self.layers)))

    def part(self, name: str, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """What this part gives for these values."""
        return cast(Sequence[Tensor], getattr(self, name)(*values))

    def cut(self, value: Tensor, axis: int) -> Sequence[Tensor]:
        """The columns' parts of a value."""
        return value.chunk(self.width, dim=axis)

    def join(self, pieces: Sequence[Tensor], axis: int) -> Tensor:
        """The columns' parts one after another."""
        return torch.cat(list(pieces), dim=axis)


T = TypeVar("T")


class Hands(Protocol[T]):
    """Who puts a row together: torch, of tensors, or an exporter, of their names in a graph."""

    def part(self, name: str, values: Sequence[T]) -> Sequence[T]:
        """What DiagonalDrawer's part of this name gives for these values."""
        ...

    def cut(self, value: T, axis: int) -> Sequence[T]:
        """The columns' parts of a value."""
        ...

    def join(self, pieces: Sequence[T], axis: int) -> T:
        """The columns' parts one after another."""
        ...


def put_together(hands: Hands[T], given: Sequence[T], layers: int) -> list[T]:
    """A row of DiagonalDrawer: its inputs → its outputs.

    The opening does at once what follows from the rows above, a step draws one pixel, the closing prepares the way
    back, which goes pixel by pixel from the right; the ending puts the state in order.
    """
    begun = Opened.of(hands.part("opening", given), layers)
    steps, used = _steps(hands, begun, given[_FORCED], layers)
    pixels, logits, *lines = zip(*steps, strict=True)
    seen, rightward = _joined(hands, lines[:layers]), _joined(hands, lines[layers:])
    drawn = [hands.join(pixels, 1), hands.join(logits, 0)]
    pixel, logp, *back, recent = hands.part("closing", [*drawn, *seen, *begun.above])
    leftward = _way_back(hands, back, begun.back, layers)
    return [pixel, logp, recent, *hands.part("ending", [*rightward, *leftward]), *used]


def _steps(
    hands: Hands[T], begun: "Opened[T]", forced: T, layers: int
) -> tuple[list[tuple[T, ...]], Sequence[T]]:
    """Of every column: pixel, logits, each layer's features, each layer's hidden state; then all colours' uses."""
    numbers = [hands.cut(value, 1) for value in (begun.number, forced)]
    ahead = [hands.cut(value, 0) for value in begun.ahead]
    running, steps = begun.running, []
    for now in zip(*numbers, *ahead, strict=True):
        found = hands.part("step", [begun.temperature, *now, *running])
        running = found[2 + layers :]
        steps.append((*found[: 2 + layers], *running[len(LEFT) : len(LEFT) + layers]))
    return steps, running[len(LEFT) + 2 * layers :][:1]


def _way_back(hands: Hands[T], ahead: Sequence[T], going: Sequence[T], layers: int) -> list[T]:
    """Each layer's leftward hidden states."""
    found = []
    for now in reversed(list(zip(*(hands.cut(value, 0) for value in ahead), strict=True))):
        going = hands.part("step_back", [*now, *going])
        found.append(going[:layers])
    return _joined(hands, list(zip(*reversed(found), strict=True)))


def _joined(hands: Hands[T], lines: Sequence[Sequence[T]]) -> list[T]:
    return [hands.join(line, 0) for line in lines]


class Opened(NamedTuple, Generic[T]):
    """What an opening hands on, by who needs it."""

    temperature: T  # (slots, 1)
    number: T  # (slots, width), to draw by
    ahead: Sequence[T]  # for the steps, (width · slots, …): features, layers' gates, residuals, colours above
    above: Sequence[T]  # for the closing: `recent`, then each layer's leftward states of the row above
    back: Sequence[T]  # before the way back: each layer's hidden state, then its cell
    running: Sequence[T]  # before the first step: pixels at the left, hidden states, cells, uses

    @classmethod
    def of(cls, opened: Sequence[T], layers: int) -> "Opened[T]":
        """The parts of what `Opening.forward` gives."""
        temperature, number, *rest = opened
        parts = iter(rest)
        ahead = _next(parts, 2 + (GATES + 1) * layers)
        above, back = _next(parts, 1 + layers), _next(parts, 2 * layers)
        return cls(temperature, number, ahead, above, back, list(parts))


class Opening(nn.Module):
    """All that a row's pixels owe to the rows above, for all columns at once."""

    def __init__(self, network: "DiagonalPixelRNN") -> None:
        super().__init__()
        layers = _layers(network)
        self.outside = network.colours
        self.sizes = [layer.hidden for layer in layers]
        self.table = constant(network.table()[len(LEFT) * (network.colours + 1) :])
        self.bias = constant(network.bias)
        self.position = network.position is not None
        if network.position:
            self.rows = constant(network.position.rows)
            self.columns = constant(network.position.columns)
        gates = [direction_weights(layer, 0) for layer in layers]
        self.above = nn.ModuleList(Product(gate.above, gate.bias, GATES) for gate in gates)
        self.out = nn.ModuleList(Product(layer.out.weight.T, layer.out.bias) for layer in layers)
        self.hidden = constants(layer.start[0, 0] for layer in layers)
        self.cell = constants(layer.start[0, 1] for layer in layers)
        self.back_hidden = constants(layer.start[1, 0] for layer in layers)
        self.back_cell = constants(layer.start[1, 1] for layer in layers)
        self.logarithm = Logarithm(network) if network.memory else None
        self.register_buffer("window", places_above(network.width, ABOVE), persistent=False)
        self.register_buffer("copied", places_above(network.width, COPIED_ABOVE), persistent=False)
        offsets = torch.arange(len(ABOVE)) * (network.colours + 1)
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("nothing", torch.full((1,), network.colours), persistent=False)
        self.register_buffer("beside", torch.full((REACH, REACH), network.colours), persistent=False)

    window: Tensor
    copied: Tensor
    offsets: Tensor
    nothing: Tensor
    beside: Tensor

    def forward(
        self, reset: Tensor, row: Tensor, uniform: Tensor, forced: Tensor, temperature: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """A row's inputs and the state → what `Opened` lists, one after another."""
        recent, rightward, leftward, *used = self.begin(reset, *state)
        padded = self.pad(reset, recent)
        above, back = self.lines(rightward), self.lines(leftward)
        ahead = [
            by_column(self.features(padded, row)),
            *(gate for line, product in zip(above, self.above, strict=True) for gate in product(line)),
            *self.residuals(back),
            by_column(take(padded, self.copied)),
        ]
        starts = self.starts(reset)
        return (
            *(temperature[:, None], undrawn(uniform, forced)),
            *ahead,
            *(recent, *back),
            *starts[2 * len(self.sizes) :],
            *[self.start(reset, self.nothing)] * len(LEFT),
            *starts[: 2 * len(self.sizes)],
            *used,
            *(self.logarithm(count) for count in used if self.logarithm),
        )

    def begin(
        self, reset: Tensor, recent: Tensor, rightward: Tensor, leftward: Tensor, *used: Tensor
    ) -> tuple[Tensor, ...]:
        """The state, or a beginning where reset: chosen, not multiplied, for 0 × NaN would be NaN."""
        zero = rightward.new_zeros(1)
        lines = (torch.where(reset[:, None, None], zero, line) for line in (rightward, leftward))
        uses = (torch.where(reset[:, None], 0, count) for count in used)
        return torch.where(reset[:, None, None], self.outside, recent), *lines, *uses

    def starts(self, reset: Tensor) -> list[Tensor]:
        """For every slot, what stands beside a row: all rightward hidden states, then cells, then the leftward ones."""
        values = (self.hidden, self.cell, self.back_hidden, self.back_cell)
        return [self.start(reset, value) for layers in values for value in layers]

    def start(self, reset: Tensor, value: Tensor) -> Tensor:
        """The value (size,) for every slot (slots, size).

        Chosen between equals, which asks for no shape: a graph that handles shapes runs partly on the CPU.
        """
        return torch.where(reset[:, None], value, value)

    def pad(self, reset: Tensor, recent: Tensor) -> Tensor:
        """The recent rows with what is outside at either side, one after another: (slots, padded).

        Put together, as onnxruntime pads no integers on a GPU, and a node on the CPU forbids CUDA graphs.
        """
        beside = self.start(reset[:, None], self.beside)  # (slots, REACH, REACH)
        return torch.cat([beside, recent, beside], dim=2).flatten(1)

    def features(self, padded: Tensor, row: Tensor) -> Tensor:
        """Of every column, by what is above: (slots, width, features)."""
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
    """One pixel of every slot."""

    def __init__(self, network: "DiagonalPixelRNN") -> None:
        super().__init__()
        layers = _layers(network)
        self.count, self.colours = len(layers), network.colours
        self.copied, self.strengths = network.head.copied, network.head.strengths
        self.tables = constants(network.table()[: len(LEFT) * (network.colours + 1)].chunk(len(LEFT)))
        gates = [direction_weights(layer, 0) for layer in layers]
        self.gates = nn.ModuleList(Gates(torch.cat([gate.seen, gate.beside])) for gate in gates)
        self.out = constants(layer.out.weight.T for layer in layers)
        self.first, self.first_bias = _transposed(network.head.first)
        second, bias = _transposed(network.head.second)
        self.second, self.second_bias = (
            constant(_with_outside(part, network.colours)) for part in (second, bias)
        )
        self.memory = constant(network.memory.weight.T) if network.memory else None
        self.logarithm = Logarithm(network) if network.memory else None

    def forward(
        self, temperature: Tensor, number: Tensor, forced: Tensor, seen: Tensor, *more: Tensor
    ) -> tuple[Tensor, ...]:
        """The opening's part of this column, and the state within the row → pixel (slots, 1), logits (slots, colours),
        each layer's features, and the state after the pixel: pixels at the left, hidden states, cells, uses."""
        parts = iter(more)
        gates = [_next(parts, GATES) for _ in range(self.count)]
        residuals, [above], left = _next(parts, self.count), _next(parts, 1), _next(parts, len(LEFT))
        hidden, cells, used = _next(parts, self.count), _next(parts, self.count), list(parts)
        for pixel, table in zip(left, self.tables, strict=True):
            seen = seen + F.embedding(pixel[:, 0], table)
        if self.memory is not None:
            seen = torch.addmm(seen, used[1], self.memory)
        inputs, after = [], []
        for layer, out in enumerate(self.out):
            inputs.append(seen)
            known = torch.cat([seen, hidden[layer]], dim=1)
            after.append(self.gates[layer](gates[layer], known, cells[layer]))
            seen = torch.addmm(seen + residuals[layer], after[-1][0], out)
        beside = [*left[: len(COPIED_LEFT)], *torch.split(above, 1, dim=1)]
        logits = self.logits(seen, beside, used[1] if used else None)
        pixel = draw_pixel(logits, number, forced, temperature)
        states = zip(*after, strict=True)
        left = [pixel, *left[:-1]]
        return pixel, logits, *inputs, *left, *chain(*states), *self._count(pixel, *used)

    def _count(self, pixel: Tensor, *used: Tensor) -> tuple[Tensor, ...]:
        """The uses of all colours and their logarithms, one more of the pixel's."""
        if self.logarithm is None:
            return ()
        counts, logarithms = used
        count = counts.gather(1, pixel) + 1
        return counts.scatter(1, pixel, count), logarithms.scatter(1, pixel, self.logarithm(count))

    def logits(self, seen: Tensor, beside: Sequence[Tensor], uses: Tensor | None) -> Tensor:
        """As Head: (…, features), each of the colours beside (…, 1), log(1 + uses) (…, colours) → (…, colours)."""
        inner = (seen.relu() @ self.first + self.first_bias).relu()
        found = inner @ self.second + self.second_bias
        sizes = [self.colours + 1, *[1] * (self.copied + self.strengths)]
        logits, *strengths = torch.split(found, sizes, dim=-1)
        if self.copied:
            # One at a time: a GPU adds in any order where several go to one colour. What is outside has its own place.
            for colour, strength in zip(beside, strengths, strict=False):
                logits = logits.scatter_add(-1, colour, strength)
        logits = logits[..., : self.colours]
        if uses is not None:
            ever, often = strengths[self.copied :]
            logits = logits + ever * uses.sign() + often * uses
        return logits


class Closing(nn.Module):
    """All that the way back over a finished row can do for every column at once."""

    def __init__(self, network: "DiagonalPixelRNN") -> None:
        super().__init__()
        layers = _layers(network)
        gates = [direction_weights(layer, 1) for layer in layers]
        self.weights = nn.ModuleList(
            Product(torch.cat([gate.seen, gate.above]), None, GATES) for gate in gates
        )
        own = [network.embedding.weight[:-1] @ layer.own.weight.T for layer in layers]
        biased = (table + gate.bias for table, gate in zip(own, gates, strict=True))
        self.own = nn.ModuleList(Table(table, GATES) for table in biased)  # of each colour

    def forward(self, pixels: Tensor, logits: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """The row's pixels (slots, width), logits (width · slots, colours) and inputs of all layers, `recent`, and the
        leftward states of the row above → pixels, log-probabilities (slots, width), inputs to the gates
        (width · slots, hidden), then the `recent` rows for the next row."""
        count = len(self.weights)
        seen, recent, above = more[:count], more[count], more[count + 1 :]
        drawn = pixels.T.flatten()
        gates: list[Tensor] = []
        for line, before, weight, own in zip(seen, above, self.weights, self.own, strict=True):
            gates += weight(torch.cat([line, before], dim=1), own(drawn))
        return (
            pixels,
            row_log_probabilities(logits, pixels),
            *gates,
            torch.cat([recent[:, 1:], pixels[:, None]], dim=1),
        )


class StepBack(nn.Module):
    """One pixel of the way back, all layers."""

    def __init__(self, network: "DiagonalPixelRNN") -> None:
        super().__init__()
        layers = _layers(network)
        self.gates = nn.ModuleList(Gates(direction_weights(layer, 1).beside) for layer in layers)

    def forward(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """The closing's part of this column, hidden states and cells → both, one column further."""
        count = len(self.gates)
        ahead, hidden, cells = parts[: -2 * count], parts[-2 * count : -count], parts[-count:]
        after = [
            gates(ahead[GATES * layer : GATES * (layer + 1)], hidden[layer], cells[layer])
            for layer, gates in enumerate(self.gates)
        ]
        return tuple(chain(*zip(*after, strict=True)))


class Ending(nn.Module):
    """Puts the hidden states of a row together, as the next row's opening takes them."""

    def __init__(self, network: "DiagonalPixelRNN") -> None:
        super().__init__()
        self.width = network.width

    def forward(self, *lines: Tensor) -> tuple[Tensor, Tensor]:
        """The layers' rightward states (width · slots, hidden), then the leftward ones → both as the state has them."""
        half = len(lines) // 2
        return self._together(lines[:half]), self._together(lines[half:])

    def _together(self, lines: Sequence[Tensor]) -> Tensor:
        states = torch.cat(list(lines), dim=1)
        return states.reshape(self.width, -1, states.shape[1]).transpose(0, 1)


class Gates(nn.Module):
    """An LSTM's gates, of whose sums a part is known already."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = constants(weights.chunk(GATES, dim=1))

    def forward(self, begun: Sequence[Tensor], known: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Four parts of sums (slots, hidden), inputs (slots, …) and cell → hidden state and cell."""
        return advance(begun, known, self.weights, cell)


class Product(nn.Module):
    """Products by a matrix that is cut into so many, column-wise, with a bias or with what is given to add."""

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
    """Rows that are looked up, cut into so many parts."""

    def __init__(self, rows: Tensor, parts: int) -> None:
        super().__init__()
        self.parts = constants(rows.chunk(parts, dim=1))

    def forward(self, index: Tensor) -> list[Tensor]:
        """(count,) int64 → (count, size) for each part."""
        return [F.embedding(index, part) for part in self.parts]


class Logarithm(nn.Module):
    """log(1 + count), looked up: the bits of ONNX Runtime's Log depend on where in the batch a number stands."""

    def __init__(self, network: "DiagonalPixelRNN") -> None:
        super().__init__()
        counts = torch.arange(network.height * network.width + 1)
        self.register_buffer("table", counts.to(network.bias.dtype).log1p()[:, None], persistent=False)

    table: Tensor

    def forward(self, used: Tensor) -> Tensor:
        """Counts of any shape int64 → the same shape."""
        return F.embedding(used, self.table)[..., 0]


class Direction(NamedTuple):
    """One LSTM's weights, as right-hand sides of products."""

    seen: Tensor  # (features, 4·hidden)
    beside: Tensor  # (hidden, 4·hidden)
    above: Tensor  # (hidden, 4·hidden)
    bias: Tensor  # (4·hidden,)


def direction_weights(layer: "DiagonalLayer", direction: int) -> Direction:
    """The weights of the rightward (0) or the leftward (1) one."""
    beside, above = torch.split(layer.recurrent[direction], layer.hidden)
    seen, bias = layer.seen.weight.chunk(2)[direction], layer.seen.bias.chunk(2)[direction]
    return Direction(seen.T, beside, above, bias)


def _layers(network: "DiagonalPixelRNN") -> list["DiagonalLayer"]:
    return [cast("DiagonalLayer", layer) for layer in network.layers]


def by_column(values: Tensor) -> Tensor:
    """(slots, width, size) → (width · slots, size)."""
    return values.transpose(0, 1).flatten(0, 1)


def _with_outside(values: Tensor, colours: int) -> Tensor:
    """Put a place for what is outside of the image behind the colours: (…, outputs) → (…, outputs + 1)."""
    before, after = values[..., :colours], values[..., colours:]
    return torch.cat([before, values.new_zeros(*values.shape[:-1], 1), after], dim=-1)


def _next(parts: Iterator[T], count: int) -> list[T]:
    return list(islice(parts, count))


def _transposed(linear: nn.Linear) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight (inputs, outputs) and bias."""
    return constant(linear.weight.T), constant(linear.bias)
