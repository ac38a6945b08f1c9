"""Distances: near 0 between images of one kind, larger the more they differ, and copies are found out."""

import numpy as np
import pytest

from smalti.repository import Data
from training.data import ImageSet
from training.distances import Yardstick, kernel_distance

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


def test_images_of_one_kind_are_near_and_of_another_far(yardstick):
    same = yardstick.distance(squares(300, 2), squares(200, 3))
    other = yardstick.distance(squares(300, 2, colour=2), squares(200, 3))
    noise = yardstick.distance(np.random.default_rng(0).integers(0, 4, (300, 10, 10)), squares(200, 3))
    assert abs(same) < 0.05 * other
    assert other < noise


def test_the_kernel_distance_is_unbiased():
    rng = np.random.default_rng(0)
    found = [kernel_distance(rng.normal(size=(20, 4)), rng.normal(size=(20, 4))) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_a_generator_that_always_draws_one_image_is_far(yardstick):
    real = squares(200, 3)
    assert yardstick.distance(np.repeat(real[:1], 300, axis=0), real) > yardstick.distance(
        squares(300, 2), real
    )


def test_copies_of_training_images_are_found_out(yardstick):
    assert yardstick.nearest_training_image(squares(50, 0)[::-1]) == 0.0
    moved = np.roll(squares(50, 0), 1, axis=0)
    moved[:, 0, 0] = 0
    assert yardstick.nearest_training_image(moved) > 1.0


def test_figures_stand_beside_those_of_test_images(yardstick):
    about = Data(name="squares", source="", licence="", digest="0" * 64, images=0)
    images = ImageSet(about, PALETTE, yardstick.train, squares(20, 4), squares(40, 5))
    figures = yardstick.figures(squares(300, 6), images)
    assert figures["test_images"] == 40
    assert figures["drawn_images"] == 300
    assert figures["colours_per_image"] == {"drawn": 2.0, "test": 2.0}
    assert figures["baselines"].keys() == {"training_images"}
