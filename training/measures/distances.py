"""Measures how far drawn images are from real ones, for networks without a likelihood.

Images are compared by simple features: colours and strengths of edges, averaged over a coarse grid, each in units of
its spread over the training images. No network trained on other data is used, so the figures only compare models on
the same data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from smalti import palette as colours
from training.images import ImageSet, Pixels

GRID = 5  # cells along each side
FLAT = 0.1  # the smallest spread of a feature, in units of the features' typical spread
SCALE = 1000.0  # kernel distances are small, so they are given in thousandths
PORTION = 2048  # images at once
KERNEL_PORTION = 256  # images that are compared with all others at once

Features = NDArray[np.float64]


class Yardstick:
    """Measures distances in units of the training images' spread."""

    def __init__(self, train: Pixels, palette: Sequence[str]) -> None:
        self.lab = colours.to_lab(colours.parse(palette))  # (colours, 3)
        self.train = train
        found = self._raw(train)
        deviation = found.std(axis=0)
        # A corner that is always blank varies only by rounding: divided by that, any speck would be enormous.
        least = FLAT * float(np.sqrt((deviation**2).mean())) + 1e-6
        self.middle, self.spread = found.mean(axis=0), np.maximum(deviation, least)
        self.train_features = self.features(train)

    def features(self, pixels: Pixels) -> Features:
        """(images, height, width) → (images, features)."""
        return np.asarray((self._raw(pixels) - self.middle) / self.spread)

    def distance(self, drawn: Pixels, real: Pixels) -> float:
        """Kernel distance between drawn and real images, in thousandths."""
        return kernel_distance(self.features(drawn), self.features(real)) * SCALE

    def nearest_training_image(self, pixels: Pixels) -> float:
        """The median distance of images to their nearest training image: CIELAB per pixel, root mean square."""
        return float(np.median(nearest(pixels, self.train, self.lab).distance))

    def figures(self, drawn: Pixels, images: ImageSet) -> dict[str, Any]:
        """The figures of drawn images, and the same figures of test images for comparison."""
        test, train = images.test, images.train
        return {
            "test_kernel_distance": round(self.distance(drawn, test), 1),
            "test_images": len(test),
            "drawn_images": len(drawn),
            "baselines": {"training_images": round(self.distance(train, test), 1)},
            "colours_per_image": {"drawn": _colours(drawn), "test": _colours(test)},
            "nearest_training_image": {
                "drawn": round(self.nearest_training_image(drawn), 2),
                "test": round(self.nearest_training_image(test), 2),
            },
        }

    def _raw(self, pixels: Pixels) -> Features:
        starts = range(0, len(pixels), PORTION)
        return np.concatenate([self._raw_portion(pixels[start : start + PORTION]) for start in starts])

    def _raw_portion(self, pixels: Pixels) -> Features:
        painted = torch.from_numpy(self._painted(pixels)).permute(0, 3, 1, 2)  # (images, 3, height, width)
        lightness = painted[:, :1]
        across = F.pad(lightness.diff(dim=3).abs(), (0, 1))
        down = F.pad(lightness.diff(dim=2).abs(), (0, 0, 0, 1))
        planes = torch.cat([painted, across, down], dim=1)
        return F.adaptive_avg_pool2d(planes, GRID).flatten(1).numpy()

    def _painted(self, pixels: Pixels) -> Features:
        return np.asarray(self.lab[pixels])


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each image the nearest of some others."""

    distance: NDArray[np.float64]  # CIELAB per pixel, root mean square: (images,)
    index: NDArray[np.int64]  # index of the nearest other image: (images,)


def nearest(images: Pixels, others: Pixels, lab: Features, *, same: bool = False) -> Nearest:
    """The nearest of `others` to each of `images`, both (count, height, width), by their colours in CIELAB.

    With `same`, image i is also number i of the others, and is not compared with itself. The search is in single
    precision, which is fast; the returned distances are exact.
    """
    middle = lab.mean(axis=0)
    painted = _flat(images, lab - middle)
    best = np.full(len(images), np.inf, dtype=np.float32)
    index = np.zeros(len(images), dtype=np.int64)
    for start in range(0, len(others), PORTION):
        part = _flat(others[start : start + PORTION], lab - middle)
        squared = (part**2).sum(
            axis=1
        ) - 2 * painted @ part.T  # without the term that is the same for all others
        if same:
            own = np.arange(start, min(start + len(part), len(images)))
            squared[own, own - start] = np.inf
        closest = squared.argmin(axis=1)
        found = squared[np.arange(len(images)), closest]
        index = np.where(found < best, start + closest, index)
        best = np.minimum(found, best)
    apart = (lab[images] - lab[others[index]]) ** 2
    return Nearest(np.sqrt(apart.sum(axis=-1).mean(axis=(1, 2))), index)


def _flat(pixels: Pixels, lab: Features) -> NDArray[np.float32]:
    """The images in CIELAB, one line of values each: (images, values)."""
    return lab.astype(np.float32)[pixels].reshape(len(pixels), -1)


def kernel_distance(one: Features, other: Features) -> float:
    """The squared maximum mean discrepancy with the cubic kernel, unbiased: near 0, or below, for equal distributions.

    Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, on our own features: (images, features) each.
    """
    within = (mean_of_pairs(features) for features in (one, other))
    return sum(within) - 2 * float(mean_kernel(one, other).mean())


def mean_kernel(one: Features, other: Features) -> NDArray[np.float64]:
    """For each image of `one`, the mean cubic kernel with all of `other`: (images,).

    It takes some images at a time, so that memory does not grow with the pairs.
    """
    starts = range(0, len(one), KERNEL_PORTION)
    return np.concatenate([_kernel(one[at : at + KERNEL_PORTION], other).mean(axis=1) for at in starts])


def mean_of_pairs(features: Features) -> float:
    """The mean kernel over all pairs of two different images: (images, features)."""
    count = len(features)
    own = ((features**2).sum(axis=1) / features.shape[1] + 1.0) ** 3
    return float((mean_kernel(features, features).sum() * count - own.sum()) / (count * (count - 1)))


def _kernel(one: Features, other: Features) -> Features:
    """The kernel of all pairs: (images, features) each → (images, other images)."""
    product = one @ other.T
    product /= one.shape[1]
    product += 1.0
    return np.asarray(product * product * product)


def _colours(images: Pixels) -> float:
    return round(float(np.mean([len(np.unique(image)) for image in images])), 1)
