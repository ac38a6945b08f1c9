"""Exact likelihood: which pixels are summed for an image, and which for its completion."""

from typing import cast

import numpy as np
import pytest

from evaluation import likelihood
from evaluation.graphs import Graphs
from evaluation.likelihood import Likelihood
from tests.evaluation.toy_images import PALETTE, image_set, scribbles
from training.errors import EvaluationRefused
from training.measures import baselines

IMAGES = image_set(scribbles(40, 0), scribbles(10, 1), scribbles(10, 2))


class Scoring:
    """Graphs whose `score` gives every pixel the same log-probability."""

    name = "it"

    def __init__(self, log_probability):
        self.log_probability = log_probability

    def run(self, graph, inputs, outputs):
        assert (graph, outputs) == ("score", ["logp"])
        return [np.full(inputs["pixels"].shape, self.log_probability, dtype=np.float32)]


def graphs(log_probability: float) -> Graphs:
    return cast(Graphs, Scoring(log_probability))


def test_a_model_of_equal_probabilities_costs_as_much_as_the_uniform_baseline():
    figures = likelihood.measure(graphs(-np.log(len(PALETTE))), IMAGES).figures()
    uniform = figures["baselines"]["uniform"]
    assert figures["nats_per_image"].mean == pytest.approx(100 * np.log(4), rel=1e-6)
    assert uniform["difference"].mean == pytest.approx(0, abs=1e-4)
    assert figures["bits_per_pixel"].mean == pytest.approx(2.0, rel=1e-6)


def test_the_cost_of_completion_counts_only_the_hidden_rows():
    model = np.zeros((3, 4, 5), dtype=np.float32)
    model[:, 1], model[:, 3] = 100.0, np.array([1.0, 2.0, 3.0])[:, None]
    found = Likelihood(model, {baselines.MIXTURE: np.ones_like(model)}, None)
    half, more = found.completion(0.5), found.completion(0.75)
    assert (half["pixels"], half["nats_per_image"].mean) == (10, 10.0)
    assert half["baselines"][baselines.MIXTURE]["difference"].mean == 0.0
    assert (more["pixels"], more["nats_per_image"].mean) == (15, 510.0)


def test_a_log_probability_that_is_not_a_number_is_refused():
    with pytest.raises(EvaluationRefused, match="not numbers"):
        likelihood.measure(graphs(np.nan), IMAGES)
