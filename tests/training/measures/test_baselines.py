"""Counting baselines: right on data whose entropy is known."""

import numpy as np
import pytest

from smalti.runtime.manifest import Data
from training.images import ImageSet
from training.measures import baselines


def image_set(images, colours):
    third = len(images) // 3
    return ImageSet(
        about=Data(name="x", source="", licence="", digest="0" * 64, images=len(images)),
        palette=tuple(f"#{colour:06x}" for colour in range(colours)),
        train=images[: -2 * third],
        valid=images[-2 * third : -third],
        test=images[-third:],
    )


def means(images):
    return {name: nats.mean() for name, nats in baselines.nats_per_image(images).items()}


def test_independent_pixels_cost_their_entropy():
    rng = np.random.default_rng(0)
    images = rng.choice(3, p=[0.7, 0.2, 0.1], size=(600, 6, 6))
    found = means(image_set(images, 3))
    entropy = -36 * (0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1))
    assert found["uniform"] == pytest.approx(36 * np.log(3))
    assert found["colour_frequencies"] == pytest.approx(entropy, rel=0.05)
    assert found["mixture_with_cache"] == pytest.approx(entropy, rel=0.07)


def test_vertical_stripes_cost_only_their_first_row():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 4, (300, 1, 5)).repeat(6, axis=1)
    found = means(image_set(images, 4))
    assert found["left_up"] == pytest.approx(5 * np.log(4), rel=0.1)
    assert found["left"] > 3 * found["left_up"]


def test_the_cache_makes_colours_of_the_same_image_cheaper():
    rng = np.random.default_rng(0)
    pairs = rng.choice(40, size=(300, 2))
    images = pairs[np.arange(300)[:, None, None], rng.integers(0, 2, (300, 6, 6))]
    found = means(image_set(images, 40))
    assert found["mixture_with_cache"] < 0.7 * found["left_up"]


def test_probabilities_of_all_colours_sum_to_one():
    rng = np.random.default_rng(0)
    train = rng.integers(0, 3, (9, 4, 4))
    counts = baselines.Counts(train, 5)
    image = rng.integers(0, 3, (4, 4))
    # The same image five times, with each colour as its last pixel: the probabilities must be a distribution.
    variants = np.stack([image] * 5)
    variants[:, -1, -1] = np.arange(5)
    for name, found in counts.predict(variants).items():
        assert found[:, -1, -1].sum() == pytest.approx(1.0, abs=2e-3), name


def test_the_nats_of_an_image_are_the_sum_over_its_pixels():
    images = image_set(np.random.default_rng(0).integers(0, 3, (60, 4, 5)), 3)
    pixels, whole = baselines.nats_per_pixel(images), baselines.nats_per_image(images)
    for name, nats in whole.items():
        assert nats.shape == (20,)
        assert nats == pytest.approx(pixels[name].sum((1, 2)), rel=1e-5)


def test_counting_in_portions_gives_the_same_figures(monkeypatch):
    images = image_set(np.random.default_rng(0).integers(0, 3, (90, 4, 5)), 3)
    whole = baselines.nats_per_pixel(images)
    monkeypatch.setattr(baselines, "CHUNK", 7)
    monkeypatch.setattr(baselines, "COUNTED", 11)
    for name, nats in baselines.nats_per_pixel(images).items():
        assert (nats == whole[name]).all(), name


def test_the_mixture_needs_only_some_of_the_validation_images(monkeypatch):
    rng = np.random.default_rng(0)
    images = image_set(rng.choice(3, p=[0.7, 0.2, 0.1], size=(900, 6, 6)), 3)
    whole = means(images)["mixture_with_cache"]
    monkeypatch.setattr(baselines, "FITTED", 100)
    assert means(images)["mixture_with_cache"] == pytest.approx(whole, rel=0.01)
