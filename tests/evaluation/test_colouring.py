"""Colours: counted for each image, and compared as shares."""

import numpy as np
import pytest

from evaluation import colouring
from tests.evaluation.toy_images import image_set, scribbles, squares


def test_the_colours_of_an_image_are_counted():
    images = image_set(scribbles(10, 0), scribbles(10, 1), scribbles(10, 2))
    drawn = np.concatenate([squares(4, 0), np.zeros((4, 10, 10), dtype=np.int64)])
    figures = colouring.measure(drawn, images).figures()["colours_per_image"]
    assert figures["drawn"].mean == 1.5
    assert figures["test"].mean == np.mean([len(np.unique(image)) for image in images.test])


def test_the_divergence_is_0_for_equal_shares_and_1_without_a_common_colour():
    half, other = np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.0, 0.0, 0.5, 0.5])
    assert colouring.divergence(half, half) == 0.0
    assert colouring.divergence(half, other) == pytest.approx(1.0)
    assert colouring.divergence(half, np.full(4, 0.25)) == pytest.approx(0.3113, abs=1e-4)
