"""The images of a training, as palette indices in three parts: training, validation, test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.pictures.report import EMPTY, Report
from smalti.runtime.manifest import Data

Pixels = NDArray[np.int64]  # palette indices: (images, height, width), or of one image
Groups = NDArray[np.int64]  # a number for each image; near-duplicates have the same one


@dataclass(frozen=True, slots=True)
class ImageSet:
    """The images of a training in three parts, each (images, height, width)."""

    about: Data
    palette: tuple[str, ...]  # '#rrggbb', in the order of the indices
    train: Pixels
    valid: Pixels  # used only to decide when to stop
    test: Pixels  # used once, at the end
    test_groups: Groups | None = None  # None: no image has near-duplicates
    report: Report = EMPTY  # what happened to the files that were read
    indexed: bool = False  # the data came with a size and a palette

    @property
    def height(self) -> int:
        """Rows of an image."""
        return int(self.train.shape[1])

    @property
    def width(self) -> int:
        """Columns of an image."""
        return int(self.train.shape[2])

    @property
    def colours(self) -> int:
        """How many colours the palette has."""
        return len(self.palette)
