"""Divides images into train, valid and test so that near-duplicates stay together.

Many sprites are recolourings or small variations of one drawing: such a group (duplicates.py) stays together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataRefused

LECTURE_TEST = 80  # images, by the lecture's protocol
LECTURE_VALID = 32  # few, for every drawing trains
LEAST_IMAGES = 10

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """Which images are for training, choosing and testing: positions in the data."""

    train: Indices
    valid: Indices
    test: Indices


def by_groups(groups: Indices, *, share: float = 0.1, seed: int = 0) -> Split:
    """Whole groups of images (images,), in a random order, until valid and test have their share of images each."""
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
            "Nearly all images are variants of one another, so none can be held back for testing: add different images."
        )
    return Split(train, valid, test)


def by_lecture(count: int) -> Split:
    """The lecture's protocol: the test images are the first 80 of a fixed permutation; the next validate."""
    if count <= LECTURE_TEST + LECTURE_VALID:
        raise DataRefused(
            f"The lecture's split tests on {LECTURE_TEST} images and validates on {LECTURE_VALID}; {count} are too few."
        )
    order = np.random.default_rng(0).permutation(count)
    after = LECTURE_TEST + LECTURE_VALID
    return Split(order[after:], order[LECTURE_TEST:after], order[:LECTURE_TEST])


def by_lengths(train: int, valid: int, test: int) -> Split:
    """What the data say themselves: the first are for training, then for validation, then for testing."""
    refuse_few(train + valid + test)
    train_end, valid_end = train, train + valid
    return Split(
        np.arange(train_end), np.arange(train_end, valid_end), np.arange(valid_end, valid_end + test)
    )


def refuse_few(count: int) -> None:
    """Raise DataRefused where there are too few images to divide."""
    if count < LEAST_IMAGES:
        raise DataRefused(f"{count} images are too few to train on: {LEAST_IMAGES} are the least.")
