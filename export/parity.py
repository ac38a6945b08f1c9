"""Compares outputs of exported graphs with torch's, for graphs that are run once per image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from export import graphs
from export.errors import ExportRefused
from smalti.randomness import normals
from smalti.runtime.manifest import Parity

PARITY_IMAGES = 64
PARITY_SEED = 0


class Comparison:
    """The largest difference so far, and whether all pixels were equal."""

    def __init__(self) -> None:
        self.largest = 0.0
        self.pixels_equal = True

    def add(self, found: NDArray[Any], expected: Tensor) -> None:
        """Compare numbers, which may differ by rounding."""
        self.largest = max(self.largest, graphs.largest_difference(found, expected.numpy()))

    def add_pixels(self, found: NDArray[Any], expected: Tensor) -> None:
        """Compare pixels, which must be the same."""
        self.pixels_equal = self.pixels_equal and bool((found == expected.numpy()).all())

    def verdict(self, images: int) -> Parity:
        """The parity for the manifest; raises ExportRefused if the graphs do not agree with torch."""
        if not (self.largest < graphs.TOLERANCE and self.pixels_equal):
            raise ExportRefused(
                f"The exported graphs differ from the network (numbers by {self.largest:.1e}, pixels "
                f"{'equal' if self.pixels_equal else 'different'}), so nothing was exported."
            )
        return Parity(max_difference=self.largest, images=images, pixels_equal=self.pixels_equal)


def latents(count: int, size: int) -> NDArray[np.float32]:
    """Standard normal latents from a fixed seed: (count, size)."""
    return np.stack([normals(PARITY_SEED, index, size) for index in range(count)])
