"""Compares which colours drawn images use, and how many, with test images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.images import Groups, ImageSet, Pixels
from training.measures.intervals import Values, estimate

Shares = NDArray[np.float64]  # of all pixels, by colour: (colours,)


@dataclass(frozen=True, slots=True)
class Use:
    """How a set of images uses the palette."""

    kinds: Values  # different colours of each image: (images,)
    shares: Shares


@dataclass(frozen=True, slots=True)
class Colouring:
    """How drawn, training and test images use the palette."""

    drawn: Use
    train: Use
    test: Use
    groups: Groups | None  # of the test images

    def figures(self) -> dict[str, Any]:
        """Colours per image, and how far the colours' shares are from those of test images, in bits."""
        return {
            "colours_per_image": {
                "drawn": estimate(self.drawn.kinds),
                "training_images": float(self.train.kinds.mean()),
                "test": estimate(self.test.kinds, self.groups),
            },
            "histogram_divergence_bits": {
                "drawn": divergence(self.drawn.shares, self.test.shares),
                "training_images": divergence(self.train.shares, self.test.shares),
            },
        }


def measure(drawn: Pixels, images: ImageSet) -> Colouring:
    """Count the colours of drawn, training and test images."""
    count = images.colours
    return Colouring(
        drawn=_use(drawn, count),
        train=_use(images.train, count),
        test=_use(images.test, count),
        groups=images.test_groups,
    )


def divergence(one: Shares, other: Shares) -> float:
    """The Jensen-Shannon divergence in bits (Lin, 1991): 0 if the shares are equal, 1 if no colour is common."""
    middle = 0.5 * (one + other)
    return 0.5 * (_relative_entropy(one, middle) + _relative_entropy(other, middle))


def _relative_entropy(shares: Shares, reference: Shares) -> float:
    there = shares > 0
    return float((shares[there] * np.log2(shares[there] / reference[there])).sum())


def _use(pixels: Pixels, colours: int) -> Use:
    in_order = np.sort(pixels.reshape(len(pixels), -1), axis=1)
    kinds = 1.0 + (np.diff(in_order, axis=1) != 0).sum(axis=1)
    return Use(kinds, np.bincount(pixels.ravel(), minlength=colours) / pixels.size)
