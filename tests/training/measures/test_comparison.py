"""Figures of likelihood: units agree with each other, and differences are paired."""

import numpy as np
import pytest

from tests.evaluation.toy_images import image_set
from training.measures.comparison import against, likelihood_figures

IMAGES = image_set(*(np.zeros((1, 4, 5), dtype=np.int64) for _ in range(3)), groups=np.array([0, 1, 2]))


def test_all_units_agree():
    counted = {"uniform": np.array([13.863] * 3)}
    figures = likelihood_figures(np.array([8.0, 12.0, 10.0]), IMAGES, counted, name="nats")
    assert figures["nats"] == 10.0
    assert figures["test_nats_per_pixel"] == 0.5
    assert figures["test_bits_per_pixel"] == pytest.approx(0.5 / np.log(2), abs=1e-4)
    assert (figures["test_images"], figures["baselines"]) == (3, {"uniform": 13.86})


def test_figures_have_the_difference_to_the_counting_mixture():
    counted = {"mixture_with_cache": np.array([9.0, 14.0, 11.0])}
    figures = likelihood_figures(np.array([8.0, 12.0, 10.0]), IMAGES, counted, name="nats")
    lead = figures["difference_to_mixture"]
    assert lead["mean"] == pytest.approx(-4 / 3, abs=0.01)
    assert lead["interval_95"][0] < lead["mean"] < lead["interval_95"][1]


def test_a_paired_difference_is_decided_although_the_intervals_overlap():
    hard = np.random.default_rng(0).normal(500, 100, 40)  # some images are hard for everybody
    found = against(hard - 5 + np.random.default_rng(1).normal(size=40), {"counting": hard}, None)["counting"]
    assert found["verdict"] == "better"
    assert found["difference"].mean == pytest.approx(-5, abs=0.6)
    assert found["nats_per_image"].high - found["nats_per_image"].low > 40
