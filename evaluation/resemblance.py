"""Measures how much drawn images as a whole resemble test images, compared with the training images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.images import Groups, ImageSet, Pixels
from training.measures.distances import SCALE, Features, Yardstick, mean_kernel, mean_of_pairs
from training.measures.intervals import around, variance_of_mean

COMPARED = 5000  # images of each kind, at most: every pair is compared
PORTION = 512  # images at once; their distances to all others are in memory
NEIGHBOURS = 5  # as in Naeem et al.


@dataclass(frozen=True, slots=True)
class Resemblance:
    """Features of each kind of images: (images, features)."""

    drawn: Features
    train: Features
    test: Features
    groups: Groups | None  # of the test images

    def figures(self) -> dict[str, Any]:
        """Kernel distance, density and coverage, each of drawn and of training images."""
        return {"kernel_distance": self._kernel_distance(), **self._neighbourhoods()}

    def _kernel_distance(self) -> dict[str, Any]:
        """Distances to the test images in thousandths; `excess` is the drawn images' minus the training images'."""
        within_drawn, within_train, within_test = map(mean_of_pairs, (self.drawn, self.train, self.test))
        to_drawn, to_train = (mean_kernel(self.test, images) for images in (self.drawn, self.train))
        # Both distances have the same term for pairs of test images. It cancels: the excess is linear in test images.
        by_test = within_drawn - within_train - 2 * (to_drawn - to_train)
        by_drawn = 2 * (mean_kernel(self.drawn, self.drawn) - mean_kernel(self.drawn, self.test))
        variance = variance_of_mean(by_test, self.groups) + variance_of_mean(by_drawn)
        count = len(self.test) if self.groups is None else len(np.unique(self.groups))
        return {
            "drawn": SCALE * (within_drawn + within_test - 2 * float(to_drawn.mean())),
            "training_images": SCALE * (within_train + within_test - 2 * float(to_train.mean())),
            "excess": around(float(by_test.mean()), variance, count).scaled(SCALE),
        }

    def _neighbourhoods(self) -> dict[str, Any]:
        """Density and coverage of drawn and of training images, in portions as large as the test set, averaged."""
        size = min(len(self.drawn), len(self.test))
        real = _mixed(self.test)[:size]
        drawn, train = (_averaged(real, images, size) for images in (self.drawn, _mixed(self.train)))
        return {
            "neighbours": NEIGHBOURS,
            "images_compared": size,
            "density": {"drawn": drawn[0], "training_images": train[0]},
            "coverage": {"drawn": drawn[1], "training_images": train[1]},
        }


def measure(yardstick: Yardstick, drawn: Pixels, images: ImageSet) -> Resemblance:
    """The features of drawn, training and test images, at most COMPARED of each."""
    test = _chosen(len(images.test))
    return Resemblance(
        drawn=yardstick.features(drawn[:COMPARED]),
        train=yardstick.features(images.train[_chosen(len(images.train))]),
        test=yardstick.features(images.test[test]),
        groups=None if images.test_groups is None else images.test_groups[test],
    )


def density_and_coverage(real: Features, drawn: Features) -> tuple[float, float]:
    """How often drawn images lie near real ones, and how many real images have a drawn one near.

    An image is near a real one if it is at most as far away as the real one's k-th nearest real neighbour. The density
    is 1 for equal distributions and may be larger; the coverage is at most 1. Naeem et al., "Reliable fidelity and
    diversity metrics for generative models", ICML 2020, on our own features: (images, features) each.
    """
    neighbours = min(NEIGHBOURS, len(real) - 1)
    starts = range(0, len(real), PORTION)
    near = np.concatenate([_near(real[at : at + PORTION], real, drawn, neighbours) for at in starts])
    return float(near.sum() / (neighbours * len(drawn))), float((near > 0).mean())


def _near(some: Features, real: Features, drawn: Features, neighbours: int) -> NDArray[np.int64]:
    """How many drawn images lie near each of some real ones: (some,)."""
    # The nearest of all real images is the image itself.
    radius = np.partition(_apart(some, real), neighbours, axis=1)[:, neighbours]
    return np.asarray((_apart(some, drawn) <= radius[:, None]).sum(axis=1))


def _averaged(real: Features, images: Features, size: int) -> tuple[float, float]:
    portions = [images[start : start + size] for start in range(0, len(images) - size + 1, size)]
    found = np.mean([density_and_coverage(real, portion) for portion in portions], axis=0)
    return float(found[0]), float(found[1])


def _apart(one: Features, other: Features) -> Features:
    """The Euclidean distances of all pairs."""
    from scipy.spatial.distance import cdist  # comes with scikit-learn; slow to import

    return np.asarray(cdist(one, other))


def _mixed(features: Features) -> Features:
    """The features in a random order: in the data, images of one kind are often neighbours."""
    return features[np.random.default_rng(0).permutation(len(features))]


def _chosen(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.sort(np.random.default_rng(0).permutation(count)[:COMPARED])
