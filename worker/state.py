"""Keeps every slot's state where its last run left it: mostly as the very arrays that the next run reads."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smalti.repository import State

Arrays = Mapping[str, NDArray[Any]]  # of each state, by the name of its input: a row for each slot of a run


class _Place(NamedTuple):
    arrays: Arrays
    row: int


class SlotStates:
    """The states of slots between their rows.

    While the same slots are run again and again, what a run gave goes into the next one untouched: nothing is copied.
    """

    def __init__(self, states: Sequence[State]) -> None:
        self._names = [state.input for state in states]
        nothing = {state.input: np.zeros((1, *state.shape), dtype=state.type) for state in states}
        self._unknown = _Place(nothing, 0)  # of a slot that was never run: its first row is a new beginning
        self._places: dict[int, _Place] = {}

    def of(self, slots: Sequence[int]) -> Arrays:
        """The states of these slots, in this order."""
        places = [self._places.get(slot, self._unknown) for slot in slots]
        arrays = places[0].arrays
        as_they_are = all(place.arrays is arrays and place.row == row for row, place in enumerate(places))
        if as_they_are and all(len(array) == len(places) for array in arrays.values()):
            return arrays
        return {name: np.stack([place.arrays[name][place.row] for place in places]) for name in self._names}

    def keep(self, rows: Mapping[int, int], outputs: Iterable[NDArray[Any]]) -> None:
        """What a run gave of each state; `rows` says which row of it is which slot's."""
        arrays = dict(zip(self._names, outputs, strict=True))
        self._places |= {slot: _Place(arrays, row) for slot, row in rows.items()}

    def forget_others(self, slots: Iterable[int]) -> None:
        """Let go of all slots but these."""
        self._places = {slot: self._places[slot] for slot in slots if slot in self._places}
