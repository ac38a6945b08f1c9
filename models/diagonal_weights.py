"""The weights of a diagonal PixelRNN, as its step path and its exporter need them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class DirectionWeights(NamedTuple):
    """One LSTM of a layer; its gates are in the order input, output, forget, candidate."""

    seen: Tensor  # (features, 4·hidden)
    beside: Tensor  # (hidden, 4·hidden)
    above: Tensor  # (hidden, 4·hidden)
    bias: Tensor  # (4·hidden,)
    start_hidden: Tensor  # (hidden,): the hidden state before a row
    start_cell: Tensor  # (hidden,)


class LayerWeights(NamedTuple):
    """One layer: its two LSTMs, and what becomes of their hidden states."""

    hidden: int
    rightward: DirectionWeights
    leftward: DirectionWeights
    own: Tensor  # (embedding, 4·hidden): the pixel of the leftward LSTM's own cell
    out: Tensor  # (hidden, features)
    out_bias: Tensor  # (features,)


class HeadWeights(NamedTuple):
    """Two linear layers from features to logits; the second also gives the copy and memory strengths."""

    first: Tensor  # (features, inner)
    first_bias: Tensor  # (inner,)
    second: Tensor  # (inner, colours + copied + strengths)
    second_bias: Tensor  # (colours + copied + strengths,)
    copied: int
    strengths: int


class PositionWeights(NamedTuple):
    """Features of the row and of the column."""

    rows: Tensor  # (height, features)
    columns: Tensor  # (width, features)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagonalWeights:
    """All weights of one network, with its size; weight matrices are right-hand sides of products."""

    height: int
    width: int
    colours: int
    embedding: Tensor  # (colours + 1, embedding)
    table: (
        Tensor  # (neighbours · (colours + 1), features): what each symbol means at each place of the window
    )
    bias: Tensor  # (features,)
    position: PositionWeights | None
    memory: Tensor | None  # (colours, features)
    layers: Sequence[LayerWeights]
    head: HeadWeights
