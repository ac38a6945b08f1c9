"""Tells numbers from what is none: NaN and infinity, which spread and would spoil all that is kept."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import NotFinite


def require(value: Tensor | float, what: str) -> None:
    """Raise NotFinite unless the value is a number."""
    found = value.item() if isinstance(value, Tensor) else value
    if not math.isfinite(found):
        raise NotFinite(f"{what} is {found}")


def require_gradients(parameters: Iterable[nn.Parameter], what: str) -> None:
    """Raise NotFinite unless the length of all gradients together is a number."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    require(torch.nn.utils.get_total_norm(gradients), what)


def is_finite(content: Any) -> bool:
    """Whether all that is in it is a number: tensors and floats, in tables and lists of any depth."""
    return all(bool(torch.isfinite(leaf).all()) for leaf in leaves(content))


def leaves(content: Any) -> Iterator[Tensor]:
    """Every tensor and float, in tables and lists of any depth."""
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, float):
        yield torch.tensor(content, dtype=torch.float64)
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from leaves(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from leaves(value)
