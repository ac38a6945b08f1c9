"""Images for tests of the evaluation: squares of one colour on white, and noise."""

import numpy as np

from smalti.runtime.manifest import Data
from training.images import ImageSet

PALETTE = ("#000000", "#ff0000", "#00ff00", "#ffffff")


def squares(count, seed, colour=1):
    """(count, 10, 10)"""
    rng = np.random.default_rng(seed)
    images = np.full((count, 10, 10), 3)
    for image, row, column in zip(images, rng.integers(0, 6, count), rng.integers(0, 6, count), strict=True):
        image[row : row + 4, column : column + 4] = colour
    return images


def scribbles(count, seed):
    """(count, 10, 10), all different."""
    return np.random.default_rng(seed).integers(0, 4, (count, 5, 5)).repeat(2, axis=1).repeat(2, axis=2)


def image_set(train, valid, test, *, palette=PALETTE, groups=None):
    """An ImageSet of these images."""
    about = Data(name="made", source="", licence="", digest="0" * 64, images=0)
    return ImageSet(about, palette, train, valid, test, groups)
