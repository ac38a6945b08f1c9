"""What a graph takes and gives: names, types and shapes of tensors, compared and spelled."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

Kind: TypeAlias = tuple[str, tuple[int, ...]]  # type and shape of a tensor; −1 is the batch
Tensors: TypeAlias = Mapping[str, Kind]


class Signature(NamedTuple):
    """All inputs of a graph, and the outputs that it has at least."""

    inputs: Tensors
    outputs: Tensors


def difference(what: str, found: Tensors, expected: Tensors) -> str:
    """The first expected tensor that is missing or different, in words; empty if there is none."""
    for name, kind in expected.items():
        if name not in found:
            return f"it has no {what} '{name}'"
        if found[name] != kind:
            return f"its {what} '{name}' is {spelled(found[name])}, not {spelled(kind)}"
    return ""


def spelled(kind: Kind) -> str:
    """'int64 [batch, 4, 5]'."""
    name, shape = kind
    sizes = [str(size) if size >= 0 else "any" if axis else "batch" for axis, size in enumerate(shape)]
    return f"{name} [{', '.join(sizes)}]"
