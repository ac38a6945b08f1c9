"""Keeps every slot's state where its last run left it: mostly as the very arrays that the next run reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.runtime.manifest import State

Arrays = Mapping[str, NDArray[Any]]  # of each state, by the name of its input: a row for each slot of a run


class SlotStates:
    """The states of slots after their last run; a slot that was not in it has nothing to go on with.

    While the same slots are run again and again, what a run gave goes into the next one untouched: nothing is copied.
    """

    def __init__(self, states: Sequence[State]) -> None:
        self._names = [state.input for state in states]
        self._arrays: Arrays = {
            state.input: np.zeros((1, *state.shape), dtype=state.type) for state in states
        }
        self._slots: Sequence[int] = [-1]  # whose they are

    def of(self, slots: Sequence[int]) -> Arrays:
        """The states of these slots, in this order; any of one that was not in the last run: its row is its first."""
        if slots == self._slots:
            return self._arrays
        places = {slot: place for place, slot in enumerate(self._slots)}
        rows = [places.get(slot, 0) for slot in slots]
        return {name: array[rows] for name, array in self._arrays.items()}

    def keep(self, slots: Sequence[int], outputs: Sequence[NDArray[Any]]) -> None:
        """What a run of these slots gave of each state."""
        self._arrays, self._slots = dict(zip(self._names, outputs, strict=True)), slots
