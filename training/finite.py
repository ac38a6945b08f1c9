"""Checks that values are finite: NaN and infinity spread, and would spoil a checkpoint."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import NotFinite


def require(value: Tensor | float, what: str) -> None:
    """Raise NotFinite if the value is NaN or infinite; `what` names it."""
    found = value.item() if isinstance(value, Tensor) else value
    if not math.isfinite(found):
        raise NotFinite(f"{what} is {found}")


def require_gradients(parameters: Iterable[nn.Parameter], what: str) -> None:
    """Raise NotFinite if the norm of all gradients together is NaN or infinite; `what` names it."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    require(torch.nn.utils.get_total_norm(gradients), what)


def is_finite(content: Any) -> bool:
    """Whether all tensors and floats in the content, in tables and lists of any depth, are finite."""
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
