"""Colours that look alike share what a network learns of them.

If every colour of a palette has its own weights, a rare colour learns nothing from a similar common one. So here such
weights are W = Φ V: the training learns V, and Φ Φᵀ is a kernel on the colours, a mean of Gaussians of their distance
in CIELAB. A step that moves the weights of one colour then also moves those of similar colours. Only training is
different: drawing and export use W.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from smalti import palette as colour_tables

WIDTHS = (
    8.0,
    20.0,
    50.0,
)  # of the Gaussians, in CIELAB units: for nearly equal, related, and distantly related colours
LEAST = 1e-4  # smallest eigenvalue of the kernel, so that all weights can be learned, some of them slowly


def root(palette: Sequence[str]) -> Tensor:
    """Φ of a palette of '#rrggbb' colours: (colours, colours)."""
    lab = torch.from_numpy(colour_tables.to_lab(colour_tables.parse(palette)))
    squared = (lab[:, None] - lab).square().sum(-1)
    kernel = torch.stack([(-squared / (2 * width**2)).exp() for width in WIDTHS]).mean(dim=0)
    values, vectors = torch.linalg.eigh(kernel)
    phi: Tensor = vectors * values.clamp(min=LEAST).sqrt()
    return phi.float()


class Shared(nn.Module):
    """Multiplies a weight's rows or columns by Φ; those beyond the palette stay as they are."""

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
    """Put the palette's Φ into all shared weights of a network."""
    phi = root(palette)
    for module in network.modules():
        if isinstance(module, Shared):
            module.root[: len(phi), : len(phi)] = phi
