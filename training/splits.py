"""Divides images into train, valid and test so that near-duplicates stay together.

Many sprites are recolourings or small variations of one drawing. Two images count as variants of one another if their
silhouettes or their edges agree, also mirrored; chains of variants form a group, and a group is never divided.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti import palette
from training.errors import DataRefused

SAME_SILHOUETTE = (
    0.85  # intersection over union; chosen by eye on sprites: rather merge strangers than part variants
)
SAME_EDGES = 0.7  # correlation of the edges' strengths
FILLED = 0.95  # from this opaque part on, a silhouette is the frame and tells nothing
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


def by_groups(
    rgb: NDArray[np.uint8], opaque: NDArray[np.bool_], *, share: float = 0.1, seed: int = 0
) -> Split:
    """Whole groups of near-duplicates, in a random order, until valid and test have their share of images each."""
    groups = near_duplicates(rgb, opaque)
    count = len(groups)
    _refuse_few(count)
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
    _refuse_few(train + valid + test)
    train_end, valid_end = train, train + valid
    return Split(
        np.arange(train_end), np.arange(train_end, valid_end), np.arange(valid_end, valid_end + test)
    )


def near_duplicates(rgb: NDArray[np.uint8], opaque: NDArray[np.bool_]) -> Indices:
    """The group of every image: (images,), numbered from 0."""
    from scipy.sparse.csgraph import connected_components  # comes with scikit-learn

    alike = _alike(rgb, opaque, rgb, opaque) | _alike(rgb, opaque, rgb[:, :, ::-1], opaque[:, :, ::-1])
    _, groups = connected_components(alike, directed=False)
    return np.asarray(groups, dtype=np.int64)


def _alike(
    rgb: NDArray[np.uint8],
    opaque: NDArray[np.bool_],
    other_rgb: NDArray[np.uint8],
    other_opaque: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    edges = _edges(rgb) @ _edges(other_rgb).T > SAME_EDGES
    return edges | (_overlap(opaque, other_opaque) > SAME_SILHOUETTE)


def _overlap(opaque: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Intersection over union of all pairs: (images, images); 0 where a silhouette fills its frame."""
    flat = [shape.reshape(len(shape), -1).astype(np.float32) for shape in (opaque, other)]
    common = flat[0] @ flat[1].T
    union = flat[0].sum(1)[:, None] + flat[1].sum(1) - common
    telling = [shape.mean(1) < FILLED for shape in flat]
    return np.asarray(common / np.maximum(union, 1) * telling[0][:, None] * telling[1])


def _edges(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The strength of every edge of lightness, centred and of length 1: (images, features); it forgets the colours."""
    lightness = palette.to_lab(rgb)[..., 0]
    across = np.abs(np.diff(lightness, axis=2)).reshape(len(rgb), -1)
    down = np.abs(np.diff(lightness, axis=1)).reshape(len(rgb), -1)
    strength = np.sqrt(np.concatenate([across, down], axis=1))  # the root: weak edges are drawing too
    centred = strength - strength.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9))


def _refuse_few(count: int) -> None:
    if count < LEAST_IMAGES:
        raise DataRefused(f"{count} images are too few to train on: {LEAST_IMAGES} are the least.")
