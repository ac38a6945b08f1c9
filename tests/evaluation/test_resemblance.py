"""Resemblance: kernel distance, density and coverage of equal and of different distributions."""

import numpy as np
import pytest

from evaluation import resemblance
from evaluation.resemblance import Resemblance, density_and_coverage
from tests.evaluation.toy_images import PALETTE, image_set, squares
from training.measures.distances import Yardstick


@pytest.fixture
def normal():
    return lambda count, seed, middle=0.0: np.random.default_rng(seed).normal(middle, 1.0, (count, 6))


def test_equal_distributions_have_density_one_and_the_expected_coverage(normal):
    found = [density_and_coverage(normal(150, seed), normal(150, 1000 + seed)) for seed in range(20)]
    density, coverage = np.mean(found, axis=0)
    expected = 1 - np.prod([(150 - i) / (300 - i) for i in range(1, 6)])  # Naeem et al., 2020
    assert density == pytest.approx(1.0, abs=0.1)
    assert coverage == pytest.approx(expected, abs=0.03)


def test_one_image_drawn_again_and_again_has_a_low_coverage(normal):
    real = normal(100, 0)
    density, coverage = density_and_coverage(real, np.zeros((100, 6)))
    assert density > 1.0
    assert coverage < 0.5


def test_distant_images_have_density_zero_and_coverage_zero(normal):
    assert density_and_coverage(normal(100, 0), normal(100, 1, middle=50.0)) == (0.0, 0.0)


def test_the_excess_is_the_difference_of_the_two_distances(normal):
    figures = Resemblance(normal(80, 1, 0.3), normal(90, 2), normal(40, 3), None).figures()["kernel_distance"]
    assert figures["excess"].mean == pytest.approx(figures["drawn"] - figures["training_images"])


def test_the_interval_of_the_excess_includes_zero_only_if_there_is_no_excess(normal):
    """It holds zero in 95 of 100 cases if there is no excess, and excludes zero if there is one."""
    train = normal(800, 0)

    def excess(seed, middle):
        drawn, test = normal(150, 2 * seed + 1, middle), normal(60, 2 * seed + 2)
        return Resemblance(drawn, train, test, None).figures()["kernel_distance"]["excess"]

    alike = [excess(seed, 0.0) for seed in range(60)]
    assert 0.85 <= np.mean([one.low < 0 < one.high for one in alike]) <= 1.0
    assert np.mean([excess(seed, 0.5).low > 0 for seed in range(20)]) > 0.9


def test_images_are_compared_by_the_yardsticks_features():
    images = image_set(squares(60, 0), squares(20, 1), squares(40, 2), groups=np.arange(40) // 2)
    yardstick, drawn = Yardstick(images.train, PALETTE), squares(50, 3, colour=2)
    figures = resemblance.measure(yardstick, drawn, images).figures()
    assert figures["kernel_distance"]["drawn"] == pytest.approx(yardstick.distance(drawn, images.test))
    assert figures["images_compared"] == 40
    assert figures["coverage"]["drawn"] < figures["coverage"]["training_images"]
