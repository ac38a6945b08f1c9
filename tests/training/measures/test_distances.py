"""Distances: near 0 between images of one kind, larger for more different images; copies are found."""

import tracemalloc

import numpy as np
import pytest

from smalti.runtime.manifest import Data
from training.images import ImageSet
from training.measures import distances
from training.measures.distances import Yardstick, kernel_distance, mean_of_pairs, nearest

PALETTE = ("#000000", "#ff0000", "#00ff00", "#ffffff")


def squares(count, seed, colour=1):
    """Squares of one colour on white, somewhere."""
    rng = np.random.default_rng(seed)
    images = np.full((count, 10, 10), 3)
    for image, row, column in zip(images, rng.integers(0, 6, count), rng.integers(0, 6, count), strict=True):
        image[row : row + 4, column : column + 4] = colour
    return images


@pytest.fixture(scope="module")
def yardstick():
    return Yardstick(np.concatenate([squares(200, 0), squares(100, 1, colour=2)]), PALETTE)


def test_images_of_the_same_kind_are_nearer_than_others(yardstick):
    same = yardstick.distance(squares(300, 2), squares(200, 3))
    other = yardstick.distance(squares(300, 2, colour=2), squares(200, 3))
    noise = yardstick.distance(np.random.default_rng(0).integers(0, 4, (300, 10, 10)), squares(200, 3))
    assert abs(same) < 0.05 * other
    assert other < noise


def test_the_kernel_distance_is_unbiased():
    rng = np.random.default_rng(0)
    found = [kernel_distance(rng.normal(size=(20, 4)), rng.normal(size=(20, 4))) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_a_generator_that_always_draws_the_same_image_is_far_from_real_images(yardstick):
    real = squares(200, 3)
    assert yardstick.distance(np.repeat(real[:1], 300, axis=0), real) > yardstick.distance(
        squares(300, 2), real
    )


def test_copies_of_training_images_have_distance_0(yardstick):
    assert yardstick.nearest_training_image(squares(50, 0)[::-1]) == 0.0
    moved = np.roll(squares(50, 0), 1, axis=0)
    moved[:, 0, 0] = 0
    assert yardstick.nearest_training_image(moved) > 1.0


def test_figures_of_drawn_images_come_with_those_of_test_images(yardstick):
    about = Data(name="squares", source="", licence="", digest="0" * 64, images=0)
    images = ImageSet(about, PALETTE, yardstick.train, squares(20, 4), squares(40, 5))
    figures = yardstick.figures(squares(300, 6), images)
    assert figures["test_images"] == 40
    assert figures["drawn_images"] == 300
    assert figures["colours_per_image"] == {"drawn": 2.0, "test": 2.0}
    assert figures["baselines"].keys() == {"training_images"}


@pytest.mark.parametrize("portion", [7, 2048])
@pytest.mark.parametrize("same", [False, True])
def test_the_nearest_image_is_found_in_portions(portion, same, monkeypatch):
    monkeypatch.setattr(distances, "PORTION", portion)
    rng = np.random.default_rng(0)
    lab, others = rng.normal(size=(5, 3)) * 40, rng.integers(0, 5, (30, 4, 4))
    images = others[:20] if same else rng.integers(0, 5, (20, 4, 4))
    apart = np.sqrt(((lab[images][:, None] - lab[others]) ** 2).sum(-1).mean((2, 3)))
    if same:
        apart[np.arange(20), np.arange(20)] = np.inf
    found = nearest(images, others, lab, same=same)
    assert found.distance == pytest.approx(apart.min(axis=1))
    assert found.index.tolist() == apart.argmin(axis=1).tolist()


def test_a_speck_in_a_corner_that_is_usually_blank_counts_little():
    train, test, drawn = squares(300, 0), squares(200, 1), squares(200, 2)
    for images in (train, test, drawn):
        images[:, 8:] = 3
    drawn[0, 9, 9] = 0  # one speck in one image where no training image has one
    yardstick = Yardstick(train, PALETTE)
    assert yardstick.distance(drawn, test) < 0.2 * yardstick.distance(squares(200, 3, colour=2), test)


@pytest.mark.parametrize("portion", [7, 256])
def test_the_kernel_distance_does_not_depend_on_the_size_of_portions(portion, monkeypatch):
    monkeypatch.setattr(distances, "KERNEL_PORTION", portion)
    one, other = np.random.default_rng(0).normal(size=(2, 30, 4))
    within = [(features @ features.T / 4 + 1) ** 3 for features in (one, other)]
    pairs = [(square.sum() - np.trace(square)) / (30 * 29) for square in within]
    assert mean_of_pairs(one) == pytest.approx(pairs[0])
    expected = sum(pairs) - 2 * ((one @ other.T / 4 + 1) ** 3).mean()
    assert kernel_distance(one, other) == pytest.approx(expected)


def test_the_memory_of_the_kernel_distance_does_not_grow_with_the_pairs():
    features = np.random.default_rng(0).normal(size=(6000, 4))
    tracemalloc.start()
    kernel_distance(features, features[:100])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6000**2  # a tenth of what a table of all pairs takes
