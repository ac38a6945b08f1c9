"""Train, valid and test: disjoint, complete, and no drawing in two of them."""

import numpy as np
import pytest

from training.data import duplicates, splits
from training.errors import DataRefused


def drawings(count, size=16, seed=0):
    """Different random blobs: colours (count, size, size, 3) and silhouettes."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, size // 2, size // 2)) < 0.5
    opaque = coarse.repeat(2, axis=1).repeat(2, axis=2)
    shade = rng.integers(40, 200, (count, size, size, 1))
    rgb = np.where(opaque[..., None], shade * np.array([1.0, 0.6, 0.3]), 255)
    return rgb.astype(np.uint8), opaque


def recoloured(rgb, opaque):
    return np.where(opaque[..., None], rgb[..., ::-1], 255).astype(np.uint8)


def test_no_group_is_divided_and_no_image_is_lost():
    rgb, opaque = drawings(40)
    rgb, opaque = np.concatenate([rgb, recoloured(rgb, opaque)]), np.concatenate([opaque, opaque])
    split = splits.by_groups(duplicates.groups(rgb, opaque))
    parts = [set(part.tolist()) for part in (split.train, split.valid, split.test)]
    assert set.union(*parts) == set(range(80))
    assert sum(map(len, parts)) == 80
    for part in parts:
        assert {(image + 40) % 80 for image in part} == part
    assert [len(part) for part in parts] == [64, 8, 8]


def test_the_lectures_test_images_are_the_first_eighty_of_its_permutation():
    split = splits.by_lecture(792)
    assert split.test.tolist() == np.random.default_rng(0).permutation(792)[:80].tolist()
    assert len(split.train) + len(split.valid) == 712
    assert not set(split.test.tolist()) & set(split.train.tolist() + split.valid.tolist())


def test_too_few_images_for_the_lectures_split_are_refused():
    with pytest.raises(DataRefused, match="too few"):
        splits.by_lecture(112)


def test_fewer_than_ten_images_are_refused():
    with pytest.raises(DataRefused, match="3 images are too few"):
        splits.by_groups(np.arange(3))


def test_variants_of_a_single_drawing_are_refused():
    with pytest.raises(DataRefused, match="variants of one another"):
        splits.by_groups(np.zeros(30, dtype=np.int64))
