"""Colours that look alike share what a network learns of them.

A network that has a weight for every colour of a palette learns nothing of a rare colour from the common one beside it.
Here such weights are W = Φ V: what is learned is V, and Φ Φᵀ is a kernel on the colours, a mean of Gaussians of their
distance in CIELAB. A step that moves one colour's weights then moves those of its neighbours, too. It only changes how
weights are learned: W is what is drawn and exported with.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from smalti import palette as colour_tables

WIDTHS = (8.0, 20.0, 50.0)  # of the Gaussians, in CIELAB units: hardly to be told apart, related, both warm
LEAST = 1e-4  # of the kernel's eigenvalues: every palette's weights can be reached, if slowly


def root(palette: Sequence[str]) -> Tensor:
    """Φ of a palette of '#rrggbb' colours: (colours, colours)."""
    lab = torch.from_numpy(colour_tables.to_lab(colour_tables.parse(palette)))
    squared = (lab[:, None] - lab).square().sum(-1)
    kernel = torch.stack([(-squared / (2 * width**2)).exp() for width in WIDTHS]).mean(dim=0)
    values, vectors = torch.linalg.eigh(kernel)
    phi: Tensor = vectors * values.clamp(min=LEAST).sqrt()
    return phi.float()


class Shared(nn.Module):
    """Φ for the first of a weight's rows, or of its columns; the others are as they were."""

    root: Tensor

    def __init__(self, size: int, *, columns: bool) -> None:
        super().__init__()
        self.columns = columns
        self.register_buffer("root", torch.eye(size))

    def forward(self, learned: Tensor) -> Tensor:
        """V → W."""
        return learned @ self.root.T if self.columns else self.root @ learned


def share(module: nn.Module, *, columns: bool = False) -> None:
    """Learn the module's weight as Φ V, by rows or by columns; Φ is the identity until `know`."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    shared = Shared(weight.shape[1 if columns else 0], columns=columns)
    parametrize.register_parametrization(module, "weight", shared)


def know(network: nn.Module, palette: Sequence[str]) -> None:
    """Put the palette's Φ into all weights of a network that are shared."""
    phi = root(palette)
    for module in network.modules():
        if isinstance(module, Shared):
            module.root[: len(phi), : len(phi)] = phi
