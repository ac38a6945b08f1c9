"""PixelRNN: draws an image one pixel after another, each from its distribution given all pixels before it.

The chain rule makes log P(image) the sum of log P(pixel | pixels before), so likelihoods are exact. A pixel is a
category, an index into the palette: its number has no colour meaning (van den Oord, Kalchbrenner, Kavukcuoglu, "Pixel
Recurrent Neural Networks", ICML 2016, use the categories of each channel; the palette is the lecture's idea).

Every variant has two paths. `score` reads whole images, in parallel if it can: for training. `drawer()` gives a network
with the same weights that advances a batch by one row and takes and returns its state: for drawing.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F


class Drawer(Protocol):
    """The step path of a variant: one row of every slot."""

    width: int

    def fresh(self, slots: int) -> tuple[Tensor, ...]:
        """State tensors of any value for so many slots, the batch first; `reset` turns them into an initial state."""
        ...

    def __call__(
        self, reset: Tensor, row: Tensor, uniform: Tensor, forced: Tensor, temperature: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """Pixels and their log-probabilities (slots, width), then the state after the row."""
        ...


class PixelRNN(Protocol):
    """What every variant can do."""

    height: int
    width: int
    colours: int

    def logits(self, pixels: Tensor) -> Tensor:
        """(batch, height, width) int64 → unnormalised log-probabilities (batch, height, width, colours)."""
        ...

    def drawer(self) -> Drawer:
        """The same network as a step path, its weights copied."""
        ...


class LecturePixelRNN(nn.Module):
    """The lecture's network: pixel embedding → LSTM → palette logits, in raster order.

    It does not know about rows: it must remember the pixel above over a whole row. Dropout acts in training only: on
    single elements of the embedding and of the LSTM's output, and on its recurrent weights (Merity et al.,
    "Regularizing and Optimizing LSTM Language Models", 2018); without it, 600 sprites are learned by heart.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        colours: int,
        embedding: int = 64,
        hidden: int = 512,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.height, self.width, self.colours = height, width, colours
        self.embedding = nn.Embedding(colours + 1, embedding)  # the last one means before the first pixel
        self.rnn = nn.LSTM(embedding, hidden, batch_first=True)
        self.head = nn.Linear(hidden, colours)
        self.dropout = nn.Dropout(dropout)
        self.recurrent_dropout = recurrent_dropout
        self._initialise()

    def _initialise(self) -> None:
        """Forget gates start open (Jozefowicz et al., 2015), so that the row above is within reach from the start."""
        hidden = self.rnn.hidden_size
        with torch.no_grad():
            nn.init.orthogonal_(self.rnn.get_parameter("weight_hh_l0"))
            self.rnn.get_parameter("bias_hh_l0").zero_()
            self.rnn.get_parameter("bias_ih_l0").zero_()
            self.rnn.get_parameter("bias_ih_l0")[hidden : 2 * hidden] = 2.0
            self.head.weight.mul_(0.1)

    def logits(self, pixels: Tensor) -> Tensor:
        """(batch, height, width) int64 → unnormalised log-probabilities (batch, height, width, colours)."""
        before = self._shifted(pixels.flatten(1))  # (batch, steps)
        seen = self.dropout(self.embedding(before))  # (batch, steps, embedding)
        hidden = self.dropout(self._recur(seen))  # (batch, steps, hidden)
        logits: Tensor = self.head(hidden)
        return logits.reshape(*pixels.shape, self.colours)

    def _shifted(self, pixels: Tensor) -> Tensor:
        start = pixels.new_full((len(pixels), 1), self.colours)
        return torch.cat([start, pixels[:, :-1]], dim=1)

    def _recur(self, seen: Tensor) -> Tensor:
        hidden: Tensor
        if not (self.training and self.recurrent_dropout):
            hidden, _ = self.rnn(seen)
            return hidden
        weight = F.dropout(self.rnn.get_parameter("weight_hh_l0"), self.recurrent_dropout)
        hidden, _ = functional_call(self.rnn, {"weight_hh_l0": weight}, (seen,))
        return hidden

    def gate_weights(self) -> "GateWeights":
        """The LSTM's weights in ONNX's order of gates."""
        bias = self.rnn.get_parameter("bias_ih_l0") + self.rnn.get_parameter("bias_hh_l0")
        return GateWeights(
            input=_onnx_order(self.rnn.get_parameter("weight_ih_l0")),
            recurrent=_onnx_order(self.rnn.get_parameter("weight_hh_l0")),
            bias=_onnx_order(bias),
        )

    def drawer(self) -> "RasterDrawer":
        """The same network as a step path, its weights copied."""
        return RasterDrawer(self)


class GateWeights(NamedTuple):
    """An LSTM's weights, its gates along the first axis in ONNX's order: input, output, forget, candidate."""

    input: Tensor  # (4·hidden, embedding)
    recurrent: Tensor  # (4·hidden, hidden)
    bias: Tensor  # (4·hidden,), torch's two added


class RasterDrawer(nn.Module):
    """LecturePixelRNN's step path. State: the LSTM's `hidden` and `cell`, and the `last` pixel.

    Everything but the recurrent product comes from a table: a row of `looked_up` (colours + 1, hidden) is the embedding
    times the input weights of a gate, plus both biases.
    """

    states = ("hidden", "cell", "last")

    def __init__(self, network: LecturePixelRNN) -> None:
        super().__init__()
        self.width, self.colours, self.hidden_size = network.width, network.colours, network.rnn.hidden_size
        weights = network.gate_weights()
        with torch.no_grad():
            looked_up = network.embedding.weight @ weights.input.T + weights.bias
            self.looked_up = constants(looked_up.chunk(4, dim=1))
            self.recurrent = constants(weights.recurrent.T.chunk(4, dim=1))  # (hidden, hidden) each
            self.output = constant(network.head.weight.T)  # (hidden, colours)
            self.bias = constant(network.head.bias)  # (colours,)
        self.eval()

    def fresh(self, slots: int) -> tuple[Tensor, ...]:
        """State tensors for so many slots; `reset` turns them into an initial state."""
        zeros = torch.zeros(slots, self.hidden_size, device=self.bias.device)
        return zeros, zeros, torch.zeros(slots, dtype=torch.int64, device=self.bias.device)

    def forward(
        self, reset: Tensor, row: Tensor, uniform: Tensor, forced: Tensor, temperature: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """Advance every slot by one row: pixels and log-probabilities (slots, width), then the state after it.

        `row` is part of the contract; this variant does not use it.
        """
        hidden, cell, last = self._begin(reset, *state)
        pixels, all_logits = [], []
        for number, kept in zip(*columns(undrawn(uniform, forced), forced), strict=True):
            logits, hidden, cell = self.step(last, hidden, cell)
            pixel = draw_pixel(logits, number, kept, temperature[:, None])
            last = pixel[:, 0]
            pixels.append(pixel)
            all_logits.append(logits)
        drawn = torch.cat(pixels, dim=1)
        return drawn, row_log_probabilities(torch.cat(all_logits), drawn), hidden, cell, last

    def step(self, last: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One pixel further: logits (slots, colours) of the next pixel, and the LSTM's state."""
        begun = [F.embedding(last, table) for table in self.looked_up]
        hidden, cell = advance(begun, hidden, self.recurrent, cell)
        return torch.addmm(self.bias, hidden, self.output), hidden, cell

    def _begin(self, reset: Tensor, hidden: Tensor, cell: Tensor, last: Tensor) -> tuple[Tensor, ...]:
        """The slot's state, or an initial state where `reset` is true. By Where, not multiplication: 0 × NaN is NaN."""
        zero = hidden.new_zeros(1)
        start = torch.full_like(last, self.colours)
        return (
            torch.where(reset[:, None], zero, hidden),
            torch.where(reset[:, None], zero, cell),
            torch.where(reset, start, last),
        )


def advance(
    begun: Iterable[Tensor], known: Tensor, weights: Iterable[Tensor], cell: Tensor
) -> tuple[Tensor, Tensor]:
    """An LSTM's hidden state and cell (slots, hidden) after one more pixel.

    The gates are in ONNX's order: input, output, forget, candidate. The sum of each is `begun` (slots, hidden) plus
    `known` (slots, size) times its weights (size, hidden). Each gate has its own product, so that the result need not
    be split and onnxruntime can fuse product and sum.
    """
    gate_in, out, forget, candidate = (
        torch.addmm(part, known, weight) for part, weight in zip(begun, weights, strict=True)
    )
    cell = forget.sigmoid() * cell + gate_in.sigmoid() * candidate.tanh()
    return out.sigmoid() * cell.tanh(), cell


def columns(*rows: Tensor) -> tuple[tuple[Tensor, ...], ...]:
    """Each row of pixels (slots, width) as its columns (slots, 1)."""
    return tuple(torch.split(row, 1, dim=1) for row in rows)


def undrawn(uniform: Tensor, forced: Tensor) -> Tensor:
    """The random numbers, 0 where a pixel is forced: `draw_pixel` draws colour 0 there, and takes the larger one."""
    return torch.where(forced < 0, uniform, uniform.new_zeros(1))


def draw_pixel(logits: Tensor, number: Tensor, forced: Tensor, temperature: Tensor) -> Tensor:
    """Draw one pixel per slot by inverse CDF, or keep the forced one.

    logits (slots, colours); all else and the result (slots, 1): number in (0, 1], or 0 beside a forced pixel; forced
    int64, −1 where a pixel is drawn.
    """
    chances = (logits / temperature).softmax(dim=1)
    # Colours first: onnxruntime adds up along the first axis ten times as fast as along the last.
    cumulative = chances.T.cumsum(dim=0).T  # (slots, colours)
    below = cumulative < number * cumulative[:, -1:]
    drawn = below.to(logits.dtype).sum(dim=1, keepdim=True)  # exact, and faster than a sum of integers
    return torch.maximum(drawn.to(torch.int64), forced)


def log_probabilities(logits: Tensor, pixels: Tensor) -> Tensor:
    """Natural logarithms of the pixels' probabilities: (…, colours) and (…) int64 → (…)."""
    return logits.log_softmax(dim=-1).gather(-1, pixels[..., None])[..., 0]


def row_log_probabilities(logits: Tensor, pixels: Tensor) -> Tensor:
    """The same for a row: logits (width · slots, colours), column after column, and pixels (slots, width)."""
    return log_probabilities(logits, pixels.T.flatten()).reshape(pixels.shape[1], -1).T


def score(network: PixelRNN, pixels: Tensor) -> Tensor:
    """Natural log-probability of every pixel given those before it: (batch, height, width), as `pixels`."""
    return log_probabilities(network.logits(pixels), pixels)


@torch.no_grad()
def draw(
    network: PixelRNN,
    uniform: Tensor,
    *,
    forced: Tensor | None = None,
    temperature: float = 1.0,
    drawer: Drawer | None = None,
) -> Tensor:
    """Draw images (batch, height, width) int64 in plain torch, row by row: the reference for the graphs.

    uniform (batch, height, width) in (0, 1]; forced of the same shape, −1 where a pixel is drawn. Pass a `drawer` to
    use it again: making one copies the weights.
    """
    drawer = drawer or network.drawer()
    forced = torch.full(uniform.shape, -1) if forced is None else forced
    forced = forced.to(uniform.device)
    heat = uniform.new_full((len(uniform),), temperature)
    state = drawer.fresh(len(uniform))
    rows = []
    for row in range(uniform.shape[1]):
        here = torch.full((len(uniform),), row, device=uniform.device)
        pixels, _, *state_after = drawer(here == 0, here, uniform[:, row], forced[:, row], heat, *state)
        state = tuple(state_after)
        rows.append(pixels)
    return torch.stack(rows, dim=1)


def constant(values: Tensor) -> nn.Parameter:
    """A copy that is not trained."""
    return nn.Parameter(values.detach().clone().contiguous(), requires_grad=False)


def constants(parts: Iterable[Tensor]) -> nn.ParameterList:
    """Copies that are not trained."""
    return nn.ParameterList(constant(part) for part in parts)


def _onnx_order(gates: Tensor) -> Tensor:
    """From torch's order of gates along the first axis: input, forget, candidate, output."""
    gate_in, forget, candidate, out = gates.detach().chunk(4)
    return torch.cat([gate_in, out, forget, candidate])
