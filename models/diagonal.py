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

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import likeness as likenesses
from models.pixel_rnn import draw_pixel
from models.scan import Diagonals, diagonals, scan

REACH = 3  # of the window: rows above, columns to either side
FEW = 4  # colours
Offset = tuple[int, int]  # (rows, columns) from the pixel
LEFT: tuple[Offset, ...] = tuple((0, -back) for back in range(1, REACH + 1))
ABOVE: tuple[Offset, ...] = tuple(
    (-up, across) for up in range(REACH, 0, -1) for across in range(-REACH, REACH + 1)
)
COPIED_LEFT: tuple[Offset, ...] = LEFT[:2]
COPIED_ABOVE: tuple[Offset, ...] = ((-1, -1), (-1, 0), (-1, 1), (-2, 0))
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


def _cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM's new hidden state and cell (…, hidden) from the sums of its gates (…, 4·hidden) and its cell."""
    size = cell.shape[-1]
    gate_in, out, forget = torch.split(gates[..., : 3 * size].sigmoid(), size, dim=-1)
    cell = forget * cell + gate_in * gates[..., 3 * size :].tanh()
    return out * cell.tanh(), cell


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
    """DiagonalPixelRNN's step path, in four parts that an exporter can take apart: see `forward`.

    State: the `recent` rows of pixels, `rightward` and `leftward` hidden states of the row above, and, with a colour
    memory, how often each colour was `used`. Nothing grows with the image.
    """

    def __init__(self, network: DiagonalPixelRNN) -> None:
        super().__init__()
        self.height, self.width, self.colours = network.height, network.width, network.colours
        self.layers = [cast(DiagonalLayer, layer) for layer in network.layers]
        self.hidden_size = sum(layer.hidden for layer in self.layers)  # of all layers together
        self.inputs_size = len(self.layers) * len(network.bias)  # features of all layers together
        self.memory = network.memory is not None
        self.states = ("recent", "rightward", "leftward", *(("used",) if self.memory else ()))
        with torch.no_grad():
            self.opening = Opening(network)
            self.step = Step(network)
            self.closing = Closing(network)
            self.step_back = StepBack(network)
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
        """Advance every slot by one row: pixels and log-probabilities (slots, width), then the state after it.

        The opening does at once what follows from the rows above, a step draws one pixel, the closing prepares the
        way back, which goes pixel by pixel from the right.
        """
        ahead, beside, recent, leftward, *running = self.opening(reset, row, *state)
        start, running = running[:2], running[2:]
        drawn = []
        for column in range(self.width):
            now = ahead[:, column], beside[:, column], uniform[:, column], forced[:, column]
            pixel, logp, seen, *running = self.step(*now, temperature, *running)
            drawn.append((pixel, logp, seen, running[1]))
        pixels, logps, seen, rightward = (torch.stack(parts, dim=1) for parts in zip(*drawn, strict=True))
        pixels, logps = pixels[:, :, 0], logps[:, :, 0]
        back, recent = self.closing(pixels, seen, leftward, recent)
        lines = []
        for column in reversed(range(self.width)):
            start = self.step_back(back[:, column], *start)
            lines.append(start[0])
        leftward = torch.stack(lines[::-1], dim=1)
        return pixels, logps, recent, rightward, leftward, *running[3:]


class Opening(nn.Module):
    """All that a row's pixels owe to the rows above, for all columns at once."""

    def __init__(self, network: DiagonalPixelRNN) -> None:
        super().__init__()
        layers = [cast(DiagonalLayer, layer) for layer in network.layers]
        self.outside, self.memory = network.colours, network.memory is not None
        self.sizes = [layer.hidden for layer in layers]
        self.table = _constant(network.table()[len(LEFT) * (network.colours + 1) :])
        self.bias = _constant(network.bias)
        self.position = network.position is not None
        if network.position:
            self.rows = _constant(network.position.rows)
            self.columns = _constant(network.position.columns)
        gates = [direction_weights(layer, 0) for layer in layers]
        self.above = nn.ParameterList(_constant(gate.above) for gate in gates)  # (hidden, 4·hidden)
        self.gate_bias = nn.ParameterList(_constant(gate.bias) for gate in gates)
        self.out = nn.ParameterList(_constant(layer.out.weight.T) for layer in layers)  # (hidden, features)
        self.out_bias = nn.ParameterList(_constant(layer.out.bias) for layer in layers)
        self.start = _constant(torch.cat([layer.start for layer in layers], dim=-1))  # (2, 2, all hidden)
        self.register_buffer("window", _places(network.width, ABOVE), persistent=False)
        self.register_buffer("copied", _places(network.width, COPIED_ABOVE), persistent=False)
        offsets = torch.arange(len(ABOVE)) * (network.colours + 1)
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("nothing_left", torch.full((len(LEFT),), network.colours), persistent=False)

    window: Tensor
    copied: Tensor
    offsets: Tensor
    nothing_left: Tensor

    def forward(
        self, reset: Tensor, row: Tensor, recent: Tensor, rightward: Tensor, leftward: Tensor, *used: Tensor
    ) -> tuple[Tensor, ...]:
        """State → what each column starts with (slots, width, …), colours above it (slots, width, 4), `recent` and
        `leftward` after the reset, then `starts`, then uses."""
        recent, rightward, leftward, *used_before = self.begin(reset, recent, rightward, leftward, *used)
        padded = self.pad(recent)
        ahead = [self.features(padded, row), *self._gates(rightward), *self.residuals(leftward)]
        start = self.starts(reset)
        return torch.cat(ahead, dim=-1), take(padded, self.copied), recent, leftward, *start, *used_before

    def begin(
        self, reset: Tensor, recent: Tensor, rightward: Tensor, leftward: Tensor, *used: Tensor
    ) -> tuple[Tensor, ...]:
        """The state, or a beginning where reset: chosen, not multiplied, for 0 × NaN would be NaN."""
        zero = rightward.new_zeros(1)
        lines = (torch.where(reset[:, None, None], zero, line) for line in (rightward, leftward))
        uses = (torch.where(reset[:, None], 0, count) for count in used)
        return torch.where(reset[:, None, None], self.outside, recent), *lines, *uses

    def starts(self, reset: Tensor) -> list[Tensor]:
        """For every slot: leftward hidden states and cells beside a row, the pixels at its left, then rightward ones.

        Chosen between equals, which asks for no shape: a graph that handles shapes runs partly on the CPU.
        """
        values = (*self.start[1], self.nothing_left, *self.start[0])
        return [torch.where(reset[:, None], value, value) for value in values]

    def pad(self, recent: Tensor) -> Tensor:
        """The recent rows with what is outside at either side, one after another: (slots, padded)."""
        return F.pad(recent, (REACH, REACH), value=self.outside).flatten(1)

    def features(self, padded: Tensor, row: Tensor) -> Tensor:
        """Of every column, by what is above: (slots, width, features)."""
        symbols = take(padded, self.window) + self.offsets  # (slots, width, neighbours)
        seen = F.embedding(symbols, self.table).sum(dim=2) + self.bias
        if self.position:
            seen = seen + F.embedding(row, self.rows)[:, None] + self.columns
        return seen

    def _gates(self, rightward: Tensor) -> list[Tensor]:
        parts = zip(torch.split(rightward, self.sizes, dim=-1), self.above, self.gate_bias, strict=True)
        return [line @ weight + bias for line, weight, bias in parts]

    def residuals(self, leftward: Tensor) -> list[Tensor]:
        """What each layer's leftward states of the row above add to the features."""
        parts = zip(torch.split(leftward, self.sizes, dim=-1), self.out, self.out_bias, strict=True)
        return [line @ weight + bias for line, weight, bias in parts]


class Step(nn.Module):
    """One pixel of every slot."""

    def __init__(self, network: DiagonalPixelRNN) -> None:
        super().__init__()
        layers = [cast(DiagonalLayer, layer) for layer in network.layers]
        self.colours = network.colours
        self.copied, self.strengths = network.head.copied, network.head.strengths
        self.sizes = [layer.hidden for layer in layers]
        self.features = len(network.bias)
        self.table = _constant(network.table()[: len(LEFT) * (network.colours + 1)])
        gates = [direction_weights(layer, 0) for layer in layers]
        self.gates = nn.ParameterList(_constant(torch.cat([gate.seen, gate.beside])) for gate in gates)
        self.out = nn.ParameterList(_constant(layer.out.weight.T) for layer in layers)
        self.first, self.first_bias = _transposed(network.head.first)
        self.second, self.second_bias = _transposed(network.head.second)
        self.memory = _constant(network.memory.weight.T) if network.memory else None
        counts = torch.arange(network.height * network.width + 1)
        self.register_buffer("logarithms", counts.to(self.first.dtype).log1p()[:, None], persistent=False)
        self.register_buffer("offsets", torch.arange(len(LEFT)) * (network.colours + 1), persistent=False)
        self.register_buffer("palette", torch.arange(network.colours), persistent=False)

    offsets: Tensor
    palette: Tensor
    logarithms: Tensor

    def forward(
        self,
        ahead: Tensor,
        above: Tensor,
        uniform: Tensor,
        forced: Tensor,
        temperature: Tensor,
        left: Tensor,
        hidden: Tensor,
        cell: Tensor,
        *used: Tensor,
    ) -> tuple[Tensor, ...]:
        """The opening's part of this column, and the state within the row → pixel and log-probability (slots, 1), every
        layer's features (slots, all features), and the state after the pixel."""
        widths = [self.features, *(4 * size for size in self.sizes), *([self.features] * len(self.sizes))]
        seen, *parts = torch.split(ahead, widths, dim=-1)
        seen = seen + F.embedding(left + self.offsets, self.table).sum(dim=1)
        uses = self.logarithm(used[0]) if used else None
        if self.memory is not None and uses is not None:
            seen = seen + uses @ self.memory
        inputs, hidden, cell, seen = self._layers(seen, parts, hidden, cell)
        logits = self.logits(seen, torch.cat([left[:, : len(COPIED_LEFT)], above], dim=1), uses)
        pixel, logp = draw_pixel(logits, uniform, forced, temperature)
        pixel, logp = pixel[:, None], logp[:, None]
        left = torch.cat([pixel, left[:, :-1]], dim=1)
        counted = tuple(count + (pixel == self.palette).to(count.dtype) for count in used)
        return pixel, logp, inputs, left, hidden, cell, *counted

    def _layers(
        self, seen: Tensor, parts: Sequence[Tensor], hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Through all layers: their inputs, hidden states and cells side by side, then the features after the last."""
        count = len(self.sizes)
        inputs, after = [], []
        for gate, residual, before, old, weight, out in zip(
            parts[:count],
            parts[count:],
            torch.split(hidden, self.sizes, dim=-1),
            torch.split(cell, self.sizes, dim=-1),
            self.gates,
            self.out,
            strict=True,
        ):
            inputs.append(seen)
            after.append(_cell(gate + torch.cat([seen, before], dim=-1) @ weight, old))
            seen = seen + residual + after[-1][0] @ out
        hidden, cell = (torch.cat(states, dim=-1) for states in zip(*after, strict=True))
        return torch.cat(inputs, dim=-1), hidden, cell, seen

    def logarithm(self, used: Tensor) -> Tensor:
        """log(1 + count) for counts of any shape.

        Looked up: the bits of ONNX Runtime's Log depend on where in the batch a number stands.
        """
        return F.embedding(used, self.logarithms)[..., 0]

    def logits(self, seen: Tensor, beside: Tensor, uses: Tensor | None) -> Tensor:
        """As Head: (…, features), colours beside (…, copied), log(1 + uses) (…, colours) → (…, colours)."""
        inner = (seen.relu() @ self.first + self.first_bias).relu()
        found = inner @ self.second + self.second_bias
        logits, copied, strengths = torch.split(found, [self.colours, self.copied, self.strengths], dim=-1)
        if self.copied:
            same = beside[..., None] == self.palette  # (…, copied, colours)
            logits = logits + torch.where(same, copied[..., None], copied.new_zeros(1)).sum(dim=-2)
        if uses is not None:
            ever, often = torch.split(strengths, 1, dim=-1)
            logits = logits + torch.where(uses > 0, ever, ever.new_zeros(1)) + often * uses
        return logits


class Closing(nn.Module):
    """All that the way back over a finished row can do for every column at once."""

    def __init__(self, network: DiagonalPixelRNN) -> None:
        super().__init__()
        layers = [cast(DiagonalLayer, layer) for layer in network.layers]
        gates = [direction_weights(layer, 1) for layer in layers]
        self.features = [len(network.bias)] * len(layers)
        self.sizes = [layer.hidden for layer in layers]
        self.weights = nn.ParameterList(_constant(torch.cat([gate.seen, gate.above])) for gate in gates)
        own = [network.embedding.weight[:-1] @ layer.own.weight.T for layer in layers]
        biased = [table + gate.bias for table, gate in zip(own, gates, strict=True)]
        self.own = _constant(torch.cat(biased, dim=-1))  # (colours, all 4·hidden)

    def forward(
        self, pixels: Tensor, seen: Tensor, leftward: Tensor, recent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The row's pixels, the inputs of all layers, and the leftward states of the row above → inputs to the gates
        (slots, width, all 4·hidden) and the `recent` rows for the next row."""
        lines = zip(
            torch.split(seen, self.features, dim=-1),
            torch.split(leftward, self.sizes, dim=-1),
            self.weights,
            strict=True,
        )
        gates = [torch.cat([inputs, above], dim=-1) @ weight for inputs, above, weight in lines]
        ahead = torch.cat(gates, dim=-1) + F.embedding(pixels, self.own)
        return ahead, torch.cat([recent[:, 1:], pixels[:, None]], dim=1)


class StepBack(nn.Module):
    """One pixel of the way back, all layers at once."""

    def __init__(self, network: DiagonalPixelRNN) -> None:
        super().__init__()
        layers = [cast(DiagonalLayer, layer) for layer in network.layers]
        self.size, self.count = layers[0].hidden, len(layers)
        self.beside = nn.ParameterList(_constant(direction_weights(layer, 1).beside) for layer in layers)

    def forward(self, ahead: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """The closing's part of this column, hidden states and cells (slots, all hidden) → both, one column further."""
        known = zip(torch.split(hidden, self.size, dim=-1), self.beside, strict=True)
        gates = ahead + torch.cat([before @ weight for before, weight in known], dim=-1)
        layered = (-1, self.count)
        hidden, cell = _cell(gates.reshape(*layered, 4 * self.size), cell.reshape(*layered, self.size))
        return hidden.flatten(1), cell.flatten(1)


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


def _transposed(linear: nn.Linear) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight (inputs, outputs) and bias."""
    return _constant(linear.weight.T), _constant(linear.bias)


def _constant(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone().contiguous(), requires_grad=False)
