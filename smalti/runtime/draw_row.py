"""The graph `draw_row`: its inputs and outputs, in order. One run draws one row of each sample in the batch."""

from collections.abc import Sequence
from typing import NamedTuple

from smalti.runtime.signature import Kind, Signature, Tensors

GRAPH = "draw_row"


class StateKind(NamedTuple):
    """A tensor that `draw_row` hands from row to row: its names as input and output, and its kind."""

    input: str
    output: str
    kind: Kind


def row_inputs(width: int) -> Tensors:
    """The inputs before the states."""
    return {
        "reset": ("bool", (-1,)),  # true at a sample's first row: whatever the state holds is not used
        "row": ("int64", (-1,)),  # number of the row, from 0
        "uniform": ("float32", (-1, width)),  # in (0, 1]: decides each pixel
        "forced": ("int64", (-1, width)),  # the pixel to keep; −1 where one is drawn
        "temperature": ("float32", (-1,)),
    }


def row_outputs(width: int) -> Tensors:
    """The outputs before the states."""
    return {
        "pixels": ("int64", (-1, width)),
        "logp": ("float32", (-1, width)),  # log-probability of each pixel at temperature 1, in nats
    }


INPUTS = tuple(row_inputs(1))
OUTPUTS = tuple(row_outputs(1))


def signature(width: int, states: Sequence[StateKind]) -> Signature:
    """All inputs and outputs, states included."""
    return Signature(
        {**row_inputs(width), **{state.input: state.kind for state in states}},
        {**row_outputs(width), **{state.output: state.kind for state in states}},
    )
