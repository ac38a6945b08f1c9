"""The classification extension: instead of an output, the highest values of each entry as texts "value:index"."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def classified(array: NDArray[Any], classes: int, *, is_batched: bool) -> NDArray[Any]:
    """The highest `classes` values of each entry, from the highest on; equal ones in the order of their index.

    Takes (batch, ...) numbers and gives (batch, classes) texts; without a batch, (classes,). If an entry has fewer
    values, all are given.
    """
    entries = array.reshape(len(array) if is_batched else 1, -1)
    count = min(classes, entries.shape[1])
    order = np.argsort(-_comparable(entries), axis=1, kind="stable")[:, :count]
    texts = np.empty(order.shape, dtype=object)
    for place, index in np.ndenumerate(order):
        texts[place] = f"{_text(entries[place[0], index])}:{index}".encode()
    return texts if is_batched else texts[0]


def _comparable(values: NDArray[Any]) -> NDArray[Any]:
    """Values whose negatives keep their order: an unsigned or the smallest integer has no negative of its own type."""
    if values.dtype.kind == "f":
        return values
    return values.astype(object)


def _text(value: Any) -> str:
    """A number as C++ spells it: six places after the point of a floating one."""
    return f"{value:f}" if isinstance(value, np.floating) else str(value)
