"""Measures whether a model copies training images: how near drawn images come to one, compared with test images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti import palette as colours
from training.images import ImageSet, Pixels
from training.measures.distances import Features, Nearest, nearest

COMPARED = 1000  # test and training images to search for, at most
NEAR = 0.05  # quantile: this share of the test images counts as near a training image


@dataclass(frozen=True, slots=True)
class Memorisation:
    """For each image its nearest training image, or mirrored training image if training mirrored them."""

    drawn: Nearest
    test: Nearest
    train: Nearest  # for some training images: the nearest other one
    preference: dict[str, float]  # how often the nearest of all training and test images is a training image
    mirrored: bool

    def figures(self) -> dict[str, Any]:
        """Median distances, and how many drawn images are nearer than test images are."""
        near = float(np.quantile(self.test.distance, NEAR))
        return {
            "median_distance": {
                "drawn": float(np.median(self.drawn.distance)),
                "test": float(np.median(self.test.distance)),
                "training_images": float(np.median(self.train.distance)),
            },
            "near": near,
            "share_nearer": {
                "drawn": float((self.drawn.distance < near).mean()),
                "test": float((self.test.distance < near).mean()),
                "training_images": float((self.train.distance < near).mean()),
            },
            "copies": int((self.drawn.distance == 0).sum()),
            "nearer_than_a_test_image": _probability_less(self.drawn.distance, self.test.distance),
            "nearest_is_training_image": self.preference,
            "mirrored": self.mirrored,
        }


def measure(drawn: Pixels, images: ImageSet, *, mirrored: bool) -> Memorisation:
    """Find the nearest training images; `mirrored` says that training mirrored images too."""
    lab = colours.to_lab(colours.parse(images.palette))
    train, test = _mixed(images.train), _mixed(images.test)[:COMPARED]
    valid = _mixed(images.valid)[:COMPARED]
    return Memorisation(
        drawn=_nearest(drawn, train, lab, mirrored=mirrored),
        test=_nearest(test, train, lab, mirrored=mirrored),
        train=_nearest(train[:COMPARED], train, lab, mirrored=mirrored, same=True),
        preference={
            "drawn": _preference(drawn, train, images.test, lab, mirrored=mirrored),
            "valid": _preference(valid, train, images.test, lab, mirrored=mirrored),
            "by_chance": len(train) / (len(train) + len(images.test)),
        },
        mirrored=mirrored,
    )


def training_image(images: ImageSet, index: int) -> Pixels:
    """The training image, mirrored or not, that an index of Nearest stands for."""
    mirror, place = divmod(index, len(images.train))
    image = _mixed(images.train)[place]
    return np.asarray(image[:, ::-1] if mirror else image)


def _nearest(pixels: Pixels, train: Pixels, lab: Features, *, mirrored: bool, same: bool = False) -> Nearest:
    found = nearest(pixels, train, lab, same=same)
    if not mirrored:
        return found
    other = nearest(pixels, train[:, :, ::-1], lab, same=same)
    closer = other.distance < found.distance
    return Nearest(
        np.where(closer, other.distance, found.distance),
        np.where(closer, other.index + len(train), found.index),
    )


def _preference(pixels: Pixels, train: Pixels, test: Pixels, lab: Features, *, mirrored: bool) -> float:
    """How often the nearest of all training and test images is a training image.

    Each image is compared with both, so it does not matter that flat images are near to everything.
    """
    to_train, to_test = (
        _nearest(pixels, others, lab, mirrored=mirrored).distance for others in (train, test)
    )
    return float(((to_train < to_test) + 0.5 * (to_train == to_test)).mean())


def _probability_less(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The chance that a value of `one` is less than one of `other`; a tie counts half (Mann and Whitney, 1947)."""
    ordered = np.sort(other)
    more = len(other) - np.searchsorted(ordered, one, side="right")
    equal = np.searchsorted(ordered, one, side="right") - np.searchsorted(ordered, one, side="left")
    return float((more + 0.5 * equal).mean() / len(other))


def _mixed(pixels: Pixels) -> Pixels:
    """The images in a random order that is always the same: in the data, images of one kind are often neighbours."""
    return pixels[np.random.default_rng(0).permutation(len(pixels))]
