"""Figures: units that agree with each other, and an honest interval."""

import numpy as np
import pytest

from smalti.repository import Data
from training import evaluate
from training.data import ImageSet

IMAGES = ImageSet(
    about=Data(name="x", source="", licence="", digest="0" * 64, images=3),
    palette=("#000000", "#ffffff"),
    train=np.zeros((1, 4, 5), dtype=np.int64),
    valid=np.zeros((1, 4, 5), dtype=np.int64),
    test=np.zeros((1, 4, 5), dtype=np.int64),
)


def test_all_units_say_the_same():
    figures = evaluate.likelihood_figures(np.array([8.0, 12.0]), IMAGES, {"uniform": 13.863}, name="nats")
    assert figures["nats"] == 10.0
    assert figures["test_nats_per_pixel"] == 0.5
    assert figures["test_bits_per_pixel"] == pytest.approx(0.5 / np.log(2), abs=1e-4)
    assert (figures["test_images"], figures["baselines"]) == (2, {"uniform": 13.86})


def test_the_interval_holds_the_true_mean_in_95_of_100_samples():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(500):
        low, high = evaluate.interval_95(rng.exponential(size=80))
        held += low < 1.0 < high
    assert 0.92 < held / 500 < 0.97


def test_one_image_has_no_interval():
    assert evaluate.interval_95(np.array([3.0])) == (-np.inf, np.inf)
