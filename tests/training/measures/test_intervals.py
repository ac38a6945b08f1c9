"""Intervals: they contain the true mean as often as they should, also with many variants of one drawing."""

import numpy as np
import pytest

from training.measures.intervals import Estimate, estimate, plain


def held(draw, groups=None, rounds=500):
    """The share of the rounds in which the interval contains the true mean, which is 1."""
    found = [estimate(draw(), groups) for _ in range(rounds)]
    return np.mean([one.low < 1.0 < one.high for one in found])


def test_the_interval_contains_the_true_mean_in_95_of_100_samples():
    rng = np.random.default_rng(0)
    assert 0.92 < held(lambda: rng.exponential(size=80)) < 0.97


def test_with_variants_the_interval_is_right_only_with_their_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), rng.integers(1, 8, 30))

    def draw():
        return 1.0 + rng.normal(size=30)[groups] + 0.1 * rng.normal(size=len(groups))

    assert 0.91 < held(draw, groups) < 0.98
    assert held(draw) < 0.75


def test_groups_of_one_image_change_nothing():
    values = np.random.default_rng(0).normal(size=20)
    alone, grouped = estimate(values), estimate(values, np.arange(20) * 3)
    assert (alone.low, alone.high) == pytest.approx((grouped.low, grouped.high))


@pytest.mark.parametrize("groups", [None, np.array([4])])
def test_a_single_group_has_no_interval(groups):
    found = estimate(np.array([3.0]), groups)
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.plain(2) == {"mean": 3.0, "interval_95": None}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-3, -1, "better"), (1, 3, "worse"), (-1, 3, "undecided"), (0, 3, "undecided")],
)
def test_a_difference_is_decided_if_the_interval_excludes_zero(low, high, verdict):
    assert Estimate((low + high) / 2, low, high).verdict == verdict


def test_figures_become_plain_at_every_depth():
    figures = {"a": [1.23456, 2], "b": {"c": Estimate(1.0, 0.55555, 2.0)}, "d": None, "e": "word"}
    assert plain(figures, 2) == {
        "a": [1.23, 2],
        "b": {"c": {"mean": 1.0, "interval_95": [0.56, 2.0]}},
        "d": None,
        "e": "word",
    }
