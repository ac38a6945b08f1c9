"""Divides images into train, valid and test so that near-duplicates stay together.

Many sprites are recolourings or small variations of one drawing; duplicates.py finds such groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataRefused

LECTURE_TEST = 80  # images; the lecture's protocol
LECTURE_VALID = 32  # only few, so that more are left for training
LEAST_IMAGES = 10

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Which images are for training, validation and testing: positions in the data."""

    train: Indices
    valid: Indices
    test: Indices


def by_groups(groups: Indices, *, share: float = 0.1, seed: int = 0) -> Split:
    """Assign whole groups of images (images,), in random order, until valid and test have their share each."""
    count = len(groups)
    refuse_few(count)
    target = max(1, round(count * share))
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    sizes = np.bincount(groups)
    part = np.zeros(len(sizes), dtype=np.int64)  # 0 train, 1 valid, 2 test, for every group
    wanted = {2: target, 1: target}
    for group in order:
        fitting = [name for name, room in wanted.items() if room >= sizes[group]]
        if fitting:
            part[group] = fitting[0]
            wanted[fitting[0]] -= sizes[group]
    of_image = part[groups]
    train, valid, test = (np.flatnonzero(of_image == name) for name in range(3))
    if not (len(train) and len(valid) and len(test)):
        raise DataRefused(
            "Nearly all images are variants of one another, so none can be kept for testing: add different images."
        )
    return Split(train, valid, test)


def by_lecture(count: int) -> Split:
    """The lecture's protocol: the first 80 images of a fixed permutation are for testing, the next for validation."""
    if count <= LECTURE_TEST + LECTURE_VALID:
        raise DataRefused(
            f"The lecture's split has {LECTURE_TEST} test images and {LECTURE_VALID} for validation: {count} images "
            "are too few."
        )
    order = np.random.default_rng(0).permutation(count)
    after = LECTURE_TEST + LECTURE_VALID
    return Split(order[after:], order[LECTURE_TEST:after], order[:LECTURE_TEST])


def by_lengths(train: int, valid: int, test: int) -> Split:
    """The division that the data bring: first the training images, then validation, then test."""
    refuse_few(train + valid + test)
    train_end, valid_end = train, train + valid
    return Split(
        np.arange(train_end), np.arange(train_end, valid_end), np.arange(valid_end, valid_end + test)
    )


def refuse_few(count: int) -> None:
    """Raise DataRefused if there are too few images to divide."""
    if count < LEAST_IMAGES:
        raise DataRefused(f"{count} images are too few to train on: there must be at least {LEAST_IMAGES}.")
