"""The diagonal PixelRNN: two-dimensional LSTMs along an image's diagonals, drawn at O(1) per pixel.

Van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", ICML 2016, section 3.2. A causal 7×7 window
of pixels becomes features; residual layers follow, each of two LSTMs. The rightward one computes its cell at (row,
column) from those at its left and above; the leftward one is its mirror image, and may be seen from the row below on,
where all it knows has been drawn. Together they reach every pixel before.

Two paths, one network. `logits` reads whole images: cells on one diagonal do not depend on each other, so an image
takes height + width − 1 steps. `drawer()` keeps one row of hidden states per layer and direction: a pixel's rightward
cells need no more, and when a row is finished, one way back over it makes the leftward ones, of all layers at once.

Three differences to the paper: the leftward LSTMs also see the pixel of their own cell (it is known by the time they
are seen; without it the row's last pixel would be out of sight), rows start from a learned state, and there are options
for pictures in few colours: where the pixel is, how often each colour was used so far, which colours stand around it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Generic, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import likeness as likenesses
from models.pixel_rnn import advance, constant, constants, draw_pixel, row_log_probabilities, undrawn
from models.scan import Diagonals, diagonals, scan

REACH = 3  # of the window: rows above, columns to either side
FEW = 4  # colours
Offset = tuple[int, int]  # (rows, columns) from the pixel
_FORCED = 3  # its place among the inputs of a row
LEFT: tuple[Offset, ...] = tuple((0, -back) for back in range(1, REACH + 1))
ABOVE: tuple[Offset, ...] = tuple(
    (-up, across) for up in range(REACH, 0, -1) for across in range(-REACH, REACH + 1)
)
COPIED_LEFT: tuple[Offset, ...] = LEFT[:2]
COPIED_ABOVE: tuple[Offset, ...] = ((-1, -1), (-1, 0), (-1, 1), (-2, 0))
GATES = 4
STRENGTHS = 2  # of the colour memory: for having been used at all, and for how often


class DiagonalPixelRNN(nn.Module):
    """Window of pixels → residual diagonal LSTMs → palette logits.

    Dropout works in training only: on the features by element, and on the recurrent weights.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        colours: int,
        layers: int = 2,
        hidden: int = 32,
        features: int = 64,
        embedding: int = 16,
        head: int = 64,
        position: bool = False,
        memory: bool = False,
        copy: bool = False,
        likeness: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.height, self.width, self.colours = height, width, colours
        self.embedding = nn.Embedding(colours + 1, embedding)  # the last one stands outside of the image
        self.window = nn.Parameter(torch.randn(len(LEFT + ABOVE), embedding, features) * embedding**-0.5 / 5)
        self.bias = nn.Parameter(torch.zeros(features))
        self.position = Position(height, width, features) if position else None
        self.memory = nn.Linear(colours, features, bias=False) if memory else None
        self.layers = nn.ModuleList(
            DiagonalLayer(features, hidden, embedding, recurrent_dropout) for _ in range(layers)
        )
        self.head = Head(features, head, colours, copy=copy, memory=memory)
        self.dropout = nn.Dropout(dropout)
        if likeness:
            self._share()

    def _share(self) -> None:
        """Weights that belong to colours are learned together: see models/likeness.py."""
        likenesses.share(self.embedding)
        likenesses.share(self.head.second)
        if self.memory:
            likenesses.share(self.memory, columns=True)

    def logits(self, pixels: Tensor) -> Tensor:
        """(batch, height, width) int64 → unnormalised log-probabilities (batch, height, width, colours)."""
        order = diagonals(self.height, self.width, pixels.device)
        used = order.cells(_used_before(pixels, self.embedding.weight[:-1])) if self.memory else None
        seen = self._look(order, pixels, used)  # (cells, batch, features)
        own = self.embedding(order.cells(pixels))  # (cells, batch, embedding)
        for layer in self.layers:
            seen = seen + layer(order, self.dropout(seen), own)
        beside = order.cells(_neighbours(pixels, COPIED_LEFT + COPIED_ABOVE, self.colours))
        return order.images(self.head(self.dropout(seen), beside, used))

    def _look(self, order: Diagonals, pixels: Tensor, used: Tensor | None) -> Tensor:
        """What a pixel's features are before the layers: (cells, batch, features)."""
        window = self._window_of_few if self.colours <= FEW else self._window_of_many
        seen = window(order, pixels) + self.bias
        if self.position:
            seen = seen + order.cells(self.position()[None])
        if self.memory:
            seen = seen + self.memory(used)
        return seen

    def _window_of_many(self, order: Diagonals, pixels: Tensor) -> Tensor:
        """The window's sum of `table`'s rows."""
        symbols = order.cells(_neighbours(pixels, LEFT + ABOVE, self.colours))  # (cells, batch, neighbours)
        places = symbols + torch.arange(len(self.window), device=pixels.device) * (self.colours + 1)
        seen = F.embedding_bag(places.flatten(0, 1), self.table(), mode="sum")
        return seen.reshape(*symbols.shape[:2], -1)

    def _window_of_few(self, order: Diagonals, pixels: Tensor) -> Tensor:
        """The same as a convolution of one plane for each symbol: ten times as fast to train if they are few."""
        planes = F.one_hot(_padded(pixels, self.colours), self.colours + 1).to(self.bias.dtype)
        table = self.table().reshape(
            len(self.window), self.colours + 1, -1
        )  # (neighbours, symbols, features)
        left, above = torch.split(table, [len(LEFT), len(ABOVE)])
        unseen = table.new_zeros(REACH + 1, *table.shape[1:])
        kernel = torch.cat([above, left.flip(0), unseen]).reshape(REACH + 1, 2 * REACH + 1, *table.shape[1:])
        seen = F.conv2d(planes.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1))
        return order.cells(seen.permute(0, 2, 3, 1))

    def table(self) -> Tensor:
        """What each symbol means at each place of the window: (neighbours · (colours + 1), features)."""
        return (self.embedding.weight @ self.window).flatten(0, 1)

    def drawer(self) -> "DiagonalDrawer":
        """The same network as a step path, its weights copied."""
        return DiagonalDrawer(self)


class Position(nn.Module):
    """Features of the row and of the column."""

    def __init__(self, height: int, width: int, features: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(height, features) * 0.1)
        self.columns = nn.Parameter(torch.randn(width, features) * 0.1)

    def forward(self) -> Tensor:
        """(height, width, features)."""
        return self.rows[:, None] + self.columns


class Head(nn.Module):
    """Features → logits; a colour may be made likelier for standing beside the pixel, and for having been used."""

    def __init__(self, features: int, hidden: int, colours: int, *, copy: bool, memory: bool) -> None:
        super().__init__()
        self.colours = colours
        self.copied = len(COPIED_LEFT + COPIED_ABOVE) * copy
        self.strengths = STRENGTHS * memory
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(hidden, colours + self.copied + self.strengths)
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, seen: Tensor, beside: Tensor, used: Tensor | None) -> Tensor:
        """(…, features), colours beside (…, copied) int64, log(1 + uses) (…, colours) → (…, colours)."""
        found = self.second(F.relu(self.first(F.relu(seen))))
        logits, copied, strengths = torch.split(found, [self.colours, self.copied, self.strengths], dim=-1)
        if self.copied:
            logits = F.pad(logits, (0, 1)).scatter_add(-1, beside, copied)[..., : self.colours]
        if used is not None:
            logits = logits + strengths[..., :1] * (used > 0) + strengths[..., 1:] * used
        return logits


class DiagonalLayer(nn.Module):
    """One diagonal BiLSTM; its gates stand in the order input, output, forget, candidate.

    Weights of both directions lie side by side, the rightward first.
    """

    def __init__(self, features: int, hidden: int, embedding: int, recurrent_dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden, self.recurrent_dropout = hidden, recurrent_dropout
        self.seen = nn.Linear(features, 2 * 4 * hidden)
        self.own = nn.Linear(embedding, 4 * hidden, bias=False)  # the leftward one's
        self.recurrent = nn.Parameter(torch.empty(2, 2 * hidden, 4 * hidden))  # from beside, then from above
        self.start = nn.Parameter(torch.zeros(2, 2, hidden))  # before a row: direction, then hidden and cell
        self.out = nn.Linear(hidden, features)
        self._initialise()

    def _initialise(self) -> None:
        with torch.no_grad():
            for direction in self.recurrent:
                for source in torch.split(direction, self.hidden):
                    for gate in torch.split(source, self.hidden, dim=1):
                        gate.copy_(nn.init.orthogonal_(torch.empty_like(gate)) * 0.7)
            self.seen.bias.zero_()
            for bias in torch.split(self.seen.bias, 4 * self.hidden):
                bias[2 * self.hidden : 3 * self.hidden] = 1.0

    def forward(self, order: Diagonals, seen: Tensor, own: Tensor) -> Tensor:
        """Features (cells, batch, features), own pixels' embeddings → what is added to the features."""
        found = scan(
            order,
            seen,
            self.own(own),
            self.seen.weight.reshape(2, 4 * self.hidden, -1).mT,
            self.seen.bias.reshape(2, 4 * self.hidden),
            F.dropout(self.recurrent, self.recurrent_dropout, self.training),
            self.start,
        )
        return cast(Tensor, self.out(found))


def _neighbours(pixels: Tensor, offsets: Sequence[Offset], outside: int) -> Tensor:
    """The pixels at these offsets from each: (batch, height, width) → (batch, height, width, offsets)."""
    height, width = pixels.shape[1:]
    padded = _padded(pixels, outside)
    return torch.stack(
        [
            padded[:, REACH + down : REACH + down + height, REACH + across : REACH + across + width]
            for down, across in offsets
        ],
        dim=-1,
    )


def _padded(pixels: Tensor, outside: int) -> Tensor:
    return F.pad(pixels, (REACH, REACH, REACH, 0), value=outside)


def _used_before(pixels: Tensor, embedding: Tensor) -> Tensor:
    """log(1 + how often each colour stands before the pixel): (batch, height, width, colours), typed as `embedding`."""
    colours = len(embedding)
    drawn = F.one_hot(pixels.flatten(1), colours).to(embedding.dtype)  # (batch, positions, colours)
    return (drawn.cumsum(dim=1) - drawn).log1p().reshape(*pixels.shape, colours)


class DiagonalDrawer(nn.Module):
    """DiagonalPixelRNN's step path.

    State: the `recent` rows of pixels, `rightward` and `leftward` hidden states of the row above, and, with a colour
    memory, how often each colour was `used`. Nothing grows with the image.

    Within a row, what belongs to all columns stands column after column, (width · slots, size): so a column's part of
    it is one piece of memory. The row is put together (`put_together`) of parts that an exporter can take apart.
    """

    def __init__(self, network: DiagonalPixelRNN) -> None:
        super().__init__()
        self.height, self.width, self.colours = network.height, network.width, network.colours
        self.layers = [cast(DiagonalLayer, layer) for layer in network.layers]
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

    def __init__(self, network: DiagonalPixelRNN) -> None:
        super().__init__()
        layers = [cast(DiagonalLayer, layer) for layer in network.layers]
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
        self.register_buffer("window", _places(network.width, ABOVE), persistent=False)
        self.register_buffer("copied", _places(network.width, COPIED_ABOVE), persistent=False)
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

    def __init__(self, network: DiagonalPixelRNN) -> None:
        super().__init__()
        layers = [cast(DiagonalLayer, layer) for layer in network.layers]
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

    def __init__(self, network: DiagonalPixelRNN) -> None:
        super().__init__()
        layers = [cast(DiagonalLayer, layer) for layer in network.layers]
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

    def __init__(self, network: DiagonalPixelRNN) -> None:
        super().__init__()
        layers = [cast(DiagonalLayer, layer) for layer in network.layers]
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

    def __init__(self, network: DiagonalPixelRNN) -> None:
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

    def __init__(self, network: DiagonalPixelRNN) -> None:
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


def direction_weights(layer: DiagonalLayer, direction: int) -> Direction:
    """The weights of the rightward (0) or the leftward (1) one."""
    beside, above = torch.split(layer.recurrent[direction], layer.hidden)
    seen, bias = layer.seen.weight.chunk(2)[direction], layer.seen.bias.chunk(2)[direction]
    return Direction(seen.T, beside, above, bias)


def _places(width: int, offsets: Sequence[Offset]) -> Tensor:
    """Where the neighbours above each column stand in the recent rows, padded and flattened: (width, offsets)."""
    padded = width + 2 * REACH
    return torch.tensor(
        [
            [(REACH + down) * padded + REACH + column + across for down, across in offsets]
            for column in range(width)
        ]
    )


def take(values: Tensor, places: Tensor) -> Tensor:
    """`values[:, places]`: (batch, size) at places (a, b) → (batch, a, b)."""
    return values.index_select(1, places.flatten()).reshape(-1, *places.shape)


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
