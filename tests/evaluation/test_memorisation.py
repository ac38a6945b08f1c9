"""Memorisation: copies are found, mirrored ones too, and flat images are not taken for copies."""

import numpy as np
import pytest

from evaluation import memorisation
from tests.evaluation.toy_images import image_set, scribbles, squares


@pytest.fixture
def images():
    return image_set(scribbles(80, 0), scribbles(40, 1), scribbles(40, 2))


def measured(drawn, images, *, mirrored=False):
    return memorisation.measure(drawn, images, mirrored=mirrored)


def test_copies_are_counted_and_are_nearest_to_training_images(images):
    figures = measured(np.concatenate([images.train[:10], scribbles(10, 3)]), images).figures()
    assert figures["copies"] == 10
    assert figures["share_nearer"]["drawn"] >= 0.5
    only = measured(images.train[:10], images).figures()["nearest_is_training_image"]
    assert only["drawn"] == 1.0
    assert only["valid"] < 0.9
    assert only["by_chance"] == pytest.approx(2 / 3)


def test_new_images_are_no_nearer_than_test_images(images):
    figures = measured(scribbles(400, 4), images).figures()
    assert figures["share_nearer"]["drawn"] < 0.15
    assert figures["nearer_than_a_test_image"] == pytest.approx(0.5, abs=0.15)
    assert figures["nearest_is_training_image"]["drawn"] == pytest.approx(2 / 3, abs=0.1)


def test_mirrored_copies_are_found_if_training_mirrored_images(images):
    drawn = images.train[:, :, ::-1]
    assert measured(drawn, images).figures()["copies"] == 0
    assert measured(drawn, images, mirrored=True).figures()["copies"] == 80


def test_the_nearest_training_image_can_be_shown(images):
    drawn = np.concatenate([images.train[3:5], images.train[5:7, :, ::-1]])
    found = measured(drawn, images, mirrored=True).drawn
    shown = np.stack([memorisation.training_image(images, int(index)) for index in found.index])
    assert (shown == drawn).all()


def test_a_training_image_is_not_its_own_neighbour(images):
    assert (measured(scribbles(20, 3), images, mirrored=True).train.distance > 0).all()


def test_flat_images_are_as_near_to_test_images_as_to_training_images():
    images = image_set(squares(200, 0), squares(40, 1), squares(200, 2))
    blank = np.full((50, 10, 10), 3)
    blank[np.arange(50), np.arange(50) % 10, np.arange(50) // 10] = 0  # a speck, so that they differ
    figures = measured(blank, images).figures()
    assert figures["copies"] == 0
    assert 0.2 < figures["nearest_is_training_image"]["drawn"] < 0.8
