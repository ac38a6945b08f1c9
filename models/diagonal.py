"""The diagonal PixelRNN: two-dimensional LSTMs along an image's diagonals, drawn at O(1) per pixel.

Van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel Recurrent Neural Networks", ICML 2016, section 3.2. A causal 7×7 window
of pixels becomes features; residual layers follow, each of two LSTMs. The rightward one computes its cell at (row,
column) from the cells at its left and above. The leftward one is its mirror image; its states are read from the row
below, when all pixels that they depend on have been drawn. Together they reach every earlier pixel.

The network has two paths. `logits` reads whole images: cells on one diagonal do not depend on each other, so an image
takes height + width − 1 steps. `drawer()` draws: it keeps one row of hidden states per layer and direction. These are
all that the rightward cells of the next row need; when a row is finished, one leftward pass over it computes the
leftward states of all layers.

There are three differences from the paper. The leftward LSTMs also see the pixel of their own cell, because otherwise
the last pixel of a row would never be seen. Rows start from a learned state. And there are options for images in few
colours: where the pixel is, how often each colour was used so far, which colours are beside it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import likeness as likenesses
from models.diagonal_drawer import DiagonalDrawer
from models.diagonal_weights import (
    DiagonalWeights,
    DirectionWeights,
    HeadWeights,
    LayerWeights,
    PositionWeights,
)
from models.neighbourhood import ABOVE, COPIED_ABOVE, COPIED_LEFT, LEFT, REACH, neighbours, padded_image
from models.scan import Diagonals, diagonals, scan

FEW = 4  # colours
STRENGTHS = 2  # of the colour memory: one for colours that were used at all, one for how often


class DiagonalPixelRNN(nn.Module):
    """Window of pixels → residual diagonal LSTMs → palette logits.

    Dropout acts in training only: on single features, and on the recurrent weights.
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
        self.embedding = nn.Embedding(colours + 1, embedding)  # the last one means outside of the image
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
        """Let similar colours learn together: see models/likeness.py."""
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
        beside = order.cells(neighbours(pixels, COPIED_LEFT + COPIED_ABOVE, self.colours))
        return order.images(self.head(self.dropout(seen), beside, used))

    def _look(self, order: Diagonals, pixels: Tensor, used: Tensor | None) -> Tensor:
        """The features before the layers: (cells, batch, features)."""
        window = self._window_of_few if self.colours <= FEW else self._window_of_many
        seen = window(order, pixels) + self.bias
        if self.position:
            seen = seen + order.cells(self.position()[None])
        if self.memory:
            seen = seen + self.memory(used)
        return seen

    def _window_of_many(self, order: Diagonals, pixels: Tensor) -> Tensor:
        """For each window, the sum of its rows of `table`."""
        symbols = order.cells(neighbours(pixels, LEFT + ABOVE, self.colours))  # (cells, batch, neighbours)
        places = symbols + torch.arange(len(self.window), device=pixels.device) * (self.colours + 1)
        seen = F.embedding_bag(places.flatten(0, 1), self.table(), mode="sum")
        return seen.reshape(*symbols.shape[:2], -1)

    def _window_of_few(self, order: Diagonals, pixels: Tensor) -> Tensor:
        """The same as a convolution over one plane for each symbol: trains ten times as fast if they are few."""
        planes = F.one_hot(padded_image(pixels, self.colours), self.colours + 1).to(self.bias.dtype)
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

    def drawer(self) -> DiagonalDrawer:
        """The same network as a step path, its weights copied."""
        return DiagonalDrawer(self.weights())

    @torch.no_grad()
    def weights(self) -> DiagonalWeights:
        """All weights, as the step path and the exporter need them."""
        return DiagonalWeights(
            height=self.height,
            width=self.width,
            colours=self.colours,
            embedding=self.embedding.weight,
            table=self.table(),
            bias=self.bias,
            position=PositionWeights(self.position.rows, self.position.columns) if self.position else None,
            memory=self.memory.weight.T if self.memory else None,
            layers=[layer.weights() for layer in self.layers.children() if isinstance(layer, DiagonalLayer)],
            head=self.head.weights(),
        )


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
    """Features → logits, with extra logits for colours beside the pixel and for colours used before."""

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

    def weights(self) -> HeadWeights:
        """The weights, as right-hand sides of products."""
        first, second = self.first, self.second
        return HeadWeights(
            first.weight.T, first.bias, second.weight.T, second.bias, self.copied, self.strengths
        )


class DiagonalLayer(nn.Module):
    """One diagonal BiLSTM; its gates are in the order input, output, forget, candidate.

    The weights of both directions are side by side, the rightward first.
    """

    def __init__(self, features: int, hidden: int, embedding: int, recurrent_dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden, self.recurrent_dropout = hidden, recurrent_dropout
        self.seen = nn.Linear(features, 2 * 4 * hidden)
        self.own = nn.Linear(embedding, 4 * hidden, bias=False)  # of the leftward LSTM
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
        """Features (cells, batch, features), own pixels' embeddings → what this layer adds to the features."""
        found = scan(
            order,
            seen,
            self.own(own),
            self.seen.weight.reshape(2, 4 * self.hidden, -1).mT,
            self.seen.bias.reshape(2, 4 * self.hidden),
            F.dropout(self.recurrent, self.recurrent_dropout, self.training),
            self.start,
        )
        added: Tensor = self.out(found)
        return added

    def weights(self) -> LayerWeights:
        """The weights, as right-hand sides of products."""
        rightward, leftward = (self._direction_weights(direction) for direction in (0, 1))
        return LayerWeights(
            self.hidden, rightward, leftward, self.own.weight.T, self.out.weight.T, self.out.bias
        )

    def _direction_weights(self, direction: int) -> DirectionWeights:
        beside, above = torch.split(self.recurrent[direction], self.hidden)
        seen, bias = self.seen.weight.chunk(2)[direction], self.seen.bias.chunk(2)[direction]
        return DirectionWeights(seen.T, beside, above, bias, *self.start[direction])


def _used_before(pixels: Tensor, embedding: Tensor) -> Tensor:
    """log(1 + uses of each colour before the pixel): (batch, height, width, colours), in the type of `embedding`."""
    colours = len(embedding)
    drawn = F.one_hot(pixels.flatten(1), colours).to(embedding.dtype)  # (batch, positions, colours)
    return (drawn.cumsum(dim=1) - drawn).log1p().reshape(*pixels.shape, colours)
