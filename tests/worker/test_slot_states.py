"""States are kept from run to run, and copied only if other slots are run."""

import weakref
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from smalti.runtime.manifest import State
from worker.slot_states import SlotStates

NAMES = ("hidden", "counts")


@pytest.fixture
def states() -> SlotStates:
    return SlotStates(
        [
            State(input="hidden", output="hidden_out", type="float32", shape=(3,)),
            State(input="counts", output="counts_out", type="int64", shape=()),
        ]
    )


def a_run(states: SlotStates, slots: list[int], seed: int = 0) -> list[NDArray[Any]]:
    """Keep random outputs of a run of these slots, and return them."""
    rng = np.random.default_rng(seed)
    outputs: list[NDArray[Any]] = [
        rng.random((len(slots), 3)).astype(np.float32),
        rng.integers(0, 9, len(slots)),
    ]
    states.keep(slots, outputs)
    return outputs


def test_the_same_slots_get_the_same_arrays_again(states: SlotStates) -> None:
    outputs = a_run(states, [0, 4, 7])
    again = states.of([0, 4, 7])
    assert all(again[name] is output for name, output in zip(NAMES, outputs, strict=True))


@pytest.mark.parametrize("slots", [[7, 0, 4], [0, 4], [4], [0, 4, 7, 2]])
def test_other_slots_get_their_own_states(states: SlotStates, slots: list[int]) -> None:
    hidden, counts = a_run(states, [0, 4, 7])
    found = states.of(slots)
    for entry, slot in enumerate(slots):
        if slot != 2:  # which was never run
            place = [0, 4, 7].index(slot)
            assert (found["hidden"][entry] == hidden[place]).all()
            assert found["counts"][entry] == counts[place]
    assert found["hidden"].dtype == np.float32
    assert found["counts"].dtype == np.int64


def test_a_slot_that_was_never_run_gets_a_state_of_the_right_shape(states: SlotStates) -> None:
    assert {name: array.shape for name, array in states.of([5, 6]).items()} == {
        "hidden": (2, 3),
        "counts": (2,),
    }


def test_states_of_slots_outside_the_last_run_are_freed(states: SlotStates) -> None:
    first, _ = a_run(states, [0, 1])
    gone = weakref.ref(first)
    del first
    a_run(states, [1], seed=1)
    assert gone() is None
