"""Keeps every slot's state between runs, if possible as the same arrays that the next run reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.runtime.manifest import State

Arrays = Mapping[str, NDArray[Any]]  # each state by the name of its input; one entry for each slot of a run


class SlotStates:
    """The states of the slots in the last run; those of all other slots are lost.

    While the same slots are run again and again, the outputs of a run are the inputs of the next: nothing is copied.
    """

    def __init__(self, states: Sequence[State]) -> None:
        self._names = [state.input for state in states]
        self._arrays: Arrays = {
            state.input: np.zeros((1, *state.shape), dtype=state.type) for state in states
        }
        self._slots: Sequence[int] = [-1]  # the slots of the last run

    def of(self, slots: Sequence[int]) -> Arrays:
        """The states of these slots, in this order; any values for a slot that begins a sample."""
        if slots == self._slots:
            return self._arrays
        entry_of = {slot: entry for entry, slot in enumerate(self._slots)}
        entries = [entry_of.get(slot, 0) for slot in slots]
        return {name: array[entries] for name, array in self._arrays.items()}

    def keep(self, slots: Sequence[int], outputs: Sequence[NDArray[Any]]) -> None:
        """Keep the states that a run of these slots gave."""
        self._arrays, self._slots = dict(zip(self._names, outputs, strict=True)), slots
