"""The values of a row have names, and each group of names can be turned into a flat sequence and back."""

import pytest

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
)
from models.neighbourhood import LEFT

LAYERS = 2
RUNNING = len(LEFT) + 2 * LAYERS  # without a colour memory
COLUMNS = 2 + (GATES + 1) * LAYERS
LENGTHS = {
    LayerStates: 2 * LAYERS,
    Running: RUNNING,
    Columns: COLUMNS,
    Opened: 3 + COLUMNS + 3 * LAYERS + RUNNING,
    StepInput: 3 + COLUMNS + RUNNING,
    Stepped: 2 + LAYERS + RUNNING,
    ClosingInput: 3 + 2 * LAYERS,
    Closed: 3 + GATES * LAYERS,
    StepBackInput: (GATES + 2) * LAYERS,
}


@pytest.mark.parametrize("kind", LENGTHS, ids=lambda kind: kind.__name__)
def test_a_flat_sequence_comes_back_unchanged(kind):
    values = list(range(LENGTHS[kind]))
    assert kind.of(values, LAYERS).flat() == values


@pytest.mark.parametrize("kind", [Running, Opened, StepInput, Stepped])
def test_the_uses_of_a_colour_memory_are_the_last_two_values(kind):
    values = list(range(LENGTHS[kind] + 2))
    named = kind.of(values, LAYERS)
    running = named if kind is Running else named.running
    assert running.uses == (values[-2], values[-1])
    assert named.flat() == values


@pytest.mark.parametrize(("kind", "length"), [(State, 3), (State, 4), (RowInput, 8), (RowInput, 9)])
def test_inputs_and_state_come_back_unchanged_with_and_without_a_colour_memory(kind, length):
    values = list(range(length))
    assert kind.of(values).flat() == values
