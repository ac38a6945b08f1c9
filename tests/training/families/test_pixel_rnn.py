"""PixelRNNs in training: every variant learns, continues where it stopped, and names faults of a recipe."""

import numpy as np
import pytest
import torch

from smalti.runtime.manifest import Data
from tests.training.reporters import Silent
from training import recipe
from training.errors import RecipeRefused
from training.families import pixel_rnn
from training.families.loading import make_task
from training.images import ImageSet
from training.loop import Loop
from training.recipe import Recipe, TrainingRecipe

CPU = torch.device("cpu")
NETWORKS = {
    "lecture": {"embedding": 4, "hidden": 12},
    "diagonal": {
        "layers": 2,
        "hidden": 4,
        "features": 8,
        "embedding": 4,
        "head": 8,
        "position": True,
        "memory": True,
        "copy": True,
        "likeness": True,
    },
}


@pytest.fixture(scope="module")
def images():
    """Images of vertical stripes: the first row is random, all others repeat it."""
    stripes = np.random.default_rng(0).integers(0, 3, (120, 1, 6)).repeat(5, axis=1)
    about = Data(name="stripes", source="", licence="", digest="0" * 64, images=120)
    return ImageSet(about, ("#000000", "#808080", "#ffffff"), stripes[:100], stripes[100:110], stripes[110:])


def a_recipe(variant, *, steps, **network):
    dropouts = {"dropout": 0.1, "recurrent_dropout": 0.1}
    return Recipe(
        family="pixel_rnn",
        variant=variant,
        training=TrainingRecipe(steps=steps, batch=25, validate_every=10, sheet_every=1000),
        network=NETWORKS[variant] | dropouts | network,
        optimiser={"learning_rate": 0.03, "average": 0.9},
    )


def a_loop(images, folder, chosen):
    torch.manual_seed(chosen.seed)
    return Loop(make_task(chosen, images, CPU), images, chosen, folder, CPU)


@pytest.mark.slow
def test_the_diagonal_variant_learns_that_a_pixel_repeats_the_one_above(images, tmp_path):
    trained = a_loop(images, tmp_path, a_recipe("diagonal", steps=150)).run(Silent())
    chance = 6 * np.log(3)  # the cost of the first row, which cannot be predicted
    assert trained.figures["test_nats_per_image"] < 1.3 * chance
    assert trained.figures["baselines"]["uniform"] > 4.9 * chance


@pytest.mark.parametrize("variant", NETWORKS)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(images, tmp_path, variant):
    chosen = a_recipe(variant, steps=30)
    whole = a_loop(images, tmp_path / "whole", chosen).run(Silent())
    a_loop(images, tmp_path / "parts", chosen).run(Silent(), until=lambda step: step == 20)
    second = a_loop(images, tmp_path / "parts", chosen)
    assert second.resume() == 20
    again = second.run(Silent())
    assert again.figures == whole.figures
    for name, value in whole.best.weights.items():
        assert torch.equal(again.best.weights[name], value), name


@pytest.mark.parametrize("name", [name for name in recipe.names() if name.startswith("pixel-rnn")])
def test_every_recipe_describes_a_network(name):
    chosen = recipe.read(recipe.find(name, digits=False))
    made = pixel_rnn.make_network(chosen, height=5, width=6, colours=7)
    assert made.logits(torch.zeros(1, 5, 6, dtype=torch.int64)).shape == (1, 5, 6, 7)


@pytest.mark.parametrize(
    ("variant", "network", "reason"),
    [
        ("diagonal", {"layers": 0}, "layers"),
        ("diagonal", {"cells": 3}, "cells"),
        ("diagonal", {"dropout": 1.0}, "dropout"),
        ("lecture", {"copy": True}, "copy"),
    ],
)
def test_an_option_that_a_variant_does_not_know_is_refused(variant, network, reason):
    with pytest.raises(RecipeRefused, match=rf"\[network\] is wrong at {reason}"):
        pixel_rnn.make_network(a_recipe(variant, steps=1, **network), height=3, width=3, colours=2)


def test_an_unknown_variant_is_refused_with_the_known_ones():
    unknown = a_recipe("diagonal", steps=1).model_copy(update={"variant": "row"})
    with pytest.raises(RecipeRefused, match="lecture, diagonal"):
        pixel_rnn.make_network(unknown, height=3, width=3, colours=2)


@pytest.mark.slow
def test_training_with_products_in_bfloat16_learns_and_measures_in_float32(images, tmp_path):
    chosen = a_recipe("diagonal", steps=150)
    rounded = chosen.model_copy(update={"optimiser": chosen.optimiser | {"products": "bfloat16"}})
    trained = a_loop(images, tmp_path, rounded).run(Silent())
    assert trained.figures["test_nats_per_image"] < 1.3 * 6 * np.log(3)
    assert torch.get_float32_matmul_precision() == "highest"


def test_training_with_recoloured_images_works(images, tmp_path):
    chosen = a_recipe("diagonal", steps=20)
    hues = chosen.model_copy(update={"optimiser": chosen.optimiser | {"recolour": 1.0, "flip": 0.5}})
    figures = a_loop(images, tmp_path, hues).run(Silent()).figures
    assert np.isfinite(figures["test_nats_per_image"])


def test_an_unknown_number_format_is_refused(images):
    chosen = a_recipe("diagonal", steps=20)
    odd = chosen.model_copy(update={"optimiser": {"products": "float8"}})
    with pytest.raises(RecipeRefused, match="products"):
        make_task(odd, images, CPU)
