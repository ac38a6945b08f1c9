"""The classification extension: instead of an output, the highest values of each entry as texts "value:index"."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def classified(array: NDArray[Any], classes: int, *, is_batched: bool) -> NDArray[Any]:
    """The highest `classes` values of each entry, from the highest on; equal ones in the order of their index.

    Takes (batch, ...) numbers and gives (batch, classes) texts; without a batch, (classes,). If an entry has fewer
    values, all are given. NaN counts as −∞.
    """
    entries = array.reshape(len(array) if is_batched else 1, -1)
    texts = np.empty((len(entries), min(classes, entries.shape[1])), dtype=object)
    for row, values in zip(texts, entries, strict=True):
        row[:] = [f"{_text(values[index])}:{index}".encode() for index in _highest(values, len(row))]
    return texts if is_batched else texts[0]


def _highest(values: NDArray[Any], count: int) -> NDArray[np.intp]:
    """The places of the highest values. Only these are sorted: an entry may have many others."""
    if not count:
        return np.empty(0, dtype=np.intp)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), -np.inf, values)
    least = np.partition(values, -count)[-count]
    from_last = np.flatnonzero(values >= least)[::-1]  # so that of equal ones the first comes last
    ascending = from_last[np.argsort(values[from_last], kind="stable")]
    return ascending[::-1][:count]


def _text(value: Any) -> str:
    """A number as C++ spells it: six places after the point of a floating one."""
    return f"{value:f}" if isinstance(value, np.floating) else str(value)
