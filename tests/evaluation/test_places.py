"""Places in a latent space: each is where it should be, and the same for the same seed."""

import numpy as np
import pytest

from evaluation import places
from evaluation.places import REACH, Cloud


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def means():
    """Latents of three dimensions with mean 3 and deviations of 1, 5 and 2."""
    return (rng().normal(size=(500, 3)) * [1, 5, 2] + 3).astype(np.float32)


def test_a_cloud_has_a_middle_and_two_widest_dimensions(means):
    cloud = Cloud.of(means)
    assert np.allclose(cloud.middle, 3, atol=0.6)
    assert np.allclose(cloud.deviations, [1, 5, 2], rtol=0.1)
    assert cloud.widest() == (1, 2)


def test_between_is_the_midpoint_of_two_different_images():
    two = np.array([[0, 0], [2, 4]], dtype=np.float32)
    assert (places.between(two, 50, rng()) == [1, 2]).all()


def test_the_same_seed_gives_the_same_pairs_for_every_model(means):
    doubled = places.between(2 * means, 50, rng(7))
    assert np.allclose(doubled, 2 * places.between(means, 50, rng(7)))


def test_sweeps_leave_all_dimensions_but_two_in_the_middle(means):
    cloud = Cloud.of(means)
    moved = np.abs(places.swept(cloud, 300, rng()) - cloud.middle) / cloud.deviations
    assert ((moved > 1e-5).sum(axis=1) == 2).all()
    assert moved.max() <= REACH + 1e-5
    assert moved.max(axis=0).min() > REACH * 0.9  # each dimension has its turn


def test_fitted_latents_have_the_mean_and_covariance_of_the_images_latents(means):
    drawn = Cloud.of(places.fitted(Cloud.of(means), 4000, rng()))
    assert np.allclose(drawn.middle, Cloud.of(means).middle, atol=0.3)
    assert np.allclose(drawn.deviations, Cloud.of(means).deviations, rtol=0.1)


def test_a_sweep_changes_one_dimension_downwards_and_another_to_the_right(means):
    cloud = Cloud.of(means)
    grid = ((places.sweep(cloud, (2, 0), 3) - cloud.middle) / cloud.deviations).reshape(3, 3, 3)
    assert np.allclose(grid[..., 1], 0, atol=1e-5)
    assert np.allclose(grid[:, 0, 2], [-REACH, 0, REACH], atol=1e-5)
    assert np.allclose(grid[0, :, 0], [-REACH, 0, REACH], atol=1e-5)


def test_a_plane_has_the_images_at_its_corners_and_their_mean_in_the_middle(means):
    grid = places.plane(means[:4], 5).reshape(5, 5, 3)
    assert np.allclose([grid[0, 0], grid[0, -1], grid[-1, 0], grid[-1, -1]], means[:4], atol=1e-5)
    assert np.allclose(grid[2, 2], means[:4].mean(axis=0), atol=1e-5)
    with pytest.raises(ValueError, match="four corners"):
        places.plane(means[:3], 5)
