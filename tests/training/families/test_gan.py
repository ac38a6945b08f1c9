"""Training a GAN: while one network learns, the other does not change."""

import copy

import numpy as np
import pytest
import torch

from smalti.runtime.manifest import Data
from tests.training.reporters import Silent
from training.errors import RecipeRefused
from training.families.gan import calibration, task
from training.images import ImageSet
from training.loop import Loop
from training.recipe import Recipe, TrainingRecipe

CPU = torch.device("cpu")
ROBUST = Recipe(
    family="gan",
    variant="robust",
    training=TrainingRecipe(steps=12, batch=8, validate_every=4),
    network={"latent": 4, "generator": [8, 8, 8], "pigments": 3, "discriminator": [8, 8, 8]},
    optimiser={"flip": 0.5, "average": 0.9},
)
LECTURE = ROBUST.model_copy(update={"variant": "lecture", "optimiser": {"average": 0.0}})
VARIANTS = pytest.mark.parametrize("recipe", [ROBUST, LECTURE], ids=lambda recipe: recipe.variant)


@pytest.fixture(scope="module")
def images():
    """Bright squares on dark."""
    pixels = np.zeros((100, 6, 6), dtype=np.int64)
    rng = np.random.default_rng(0)
    for image, row, column in zip(pixels, rng.integers(0, 4, 100), rng.integers(0, 4, 100), strict=True):
        image[row : row + 3, column : column + 3] = rng.integers(1, 3)
    about = Data(name="squares", source="", licence="", digest="0" * 64, images=100)
    return ImageSet(about, ("#101030", "#f0e020", "#ffffff"), pixels[:60], pixels[60:80], pixels[80:])


def a_task(recipe, images):
    torch.manual_seed(recipe.seed)
    return task(recipe, images, CPU)


def a_loop(images, folder, recipe):
    return Loop(a_task(recipe, images), images, recipe, folder, CPU)


def changed(before, network):
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def parameters(network):
    return {name for name, _ in network.named_parameters()}


def weights(network):
    """Names without the biases: while no score is beyond the hinge, its gradient for the last bias is exactly zero."""
    return {name for name in parameters(network) if not name.endswith("bias")}


@VARIANTS
def test_while_the_generator_learns_the_discriminator_is_fixed(images, recipe):
    trained = a_task(recipe, images)
    trained.discriminator_step(torch.from_numpy(images.train[:8]))  # now the optimiser has momentum
    generator, discriminator = (
        copy.deepcopy(network.state_dict()) for network in (trained.generator, trained.discriminator)
    )
    trained.generator_step(8)
    assert changed(discriminator, trained.discriminator) == set()  # parameters, and what normalisation keeps
    assert changed(generator, trained.generator) >= parameters(trained.generator)


@VARIANTS
def test_while_the_discriminator_learns_the_generators_parameters_are_fixed(images, recipe):
    trained = a_task(recipe, images)
    trained.generator_step(8)
    generator, discriminator = (
        copy.deepcopy(network.state_dict()) for network in (trained.generator, trained.discriminator)
    )
    trained.discriminator_step(torch.from_numpy(images.train[:8]))
    assert changed(generator, trained.generator) & parameters(trained.generator) == set()
    assert changed(discriminator, trained.discriminator) >= weights(trained.discriminator)


@VARIANTS
def test_both_networks_learn_in_every_step(images, recipe):
    trained = a_task(recipe, images)
    for _ in range(2):
        generator, discriminator = (
            copy.deepcopy(network.state_dict()) for network in (trained.generator, trained.discriminator)
        )
        trained.step(torch.from_numpy(images.train[:8]), 0.0)
        assert changed(generator, trained.generator) >= parameters(trained.generator)
        assert changed(discriminator, trained.discriminator) >= weights(trained.discriminator)


def holding(network, step, seen):
    """The step, with a check that it changes neither the network nor its gradients; `seen` gets what changed."""

    def held(given):
        before = copy.deepcopy(network.state_dict()), [copy.deepcopy(p.grad) for p in network.parameters()]
        outcome = step(given)
        seen.append(changed(before[0], network) & parameters(network))
        assert all(
            old is new.grad or (old is not None and new.grad is not None and torch.equal(old, new.grad))
            for old, new in zip(before[1], network.parameters(), strict=True)
        )
        return outcome

    return held


@VARIANTS
def test_in_every_step_of_a_whole_training_the_other_network_is_fixed(images, tmp_path, recipe):
    loop = a_loop(images, tmp_path, recipe)
    trained = loop.task
    of_discriminator: list[set[str]] = []  # what changed of it in each step
    of_generator: list[set[str]] = []
    trained.generator_step = holding(trained.discriminator, trained.generator_step, of_discriminator)
    trained.discriminator_step = holding(trained.generator, trained.discriminator_step, of_generator)
    loop.run(Silent())
    assert of_discriminator == of_generator == [set()] * recipe.training.steps


def test_the_discriminator_learns_to_tell_real_from_generated_images(images):
    trained = a_task(LECTURE, images)
    real = torch.from_numpy(images.train[:32])
    losses = [trained.discriminator_step(real) for _ in range(150)]
    assert np.mean(losses[-10:]) < 0.6 * losses[0]


def test_the_generator_learns_to_please_a_fixed_discriminator(images):
    trained = a_task(LECTURE, images)
    for _ in range(60):
        trained.discriminator_step(torch.from_numpy(images.train[:32]))
    losses = [trained.generator_step(32) for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]


def test_only_the_robust_variant_has_spectral_normalisation(images):
    def bound(recipe):
        names = a_task(recipe, images).discriminator.state_dict()
        return any("parametrizations" in name for name in names)

    assert bound(ROBUST)
    assert not bound(LECTURE)


@VARIANTS
def test_an_interrupted_training_ends_like_an_uninterrupted_one(images, tmp_path, recipe):
    uninterrupted = a_loop(images, tmp_path / "whole", recipe).run(Silent())
    # given a training that was stopped between two validations
    a_loop(images, tmp_path / "parts", recipe).run(Silent(), until=lambda step: step == 6)
    torch.manual_seed(99)  # the new process may have drawn other random numbers
    again = a_loop(images, tmp_path / "parts", recipe)
    assert again.resume() == 6
    resumed = again.run(Silent())
    for network, expected in uninterrupted.best.weights.items():
        for name, value in expected.items():
            assert torch.equal(resumed.best.weights[network][name], value), (network, name)
    assert resumed.figures == uninterrupted.figures


def test_figures_have_distances_and_probabilities_of_drawn_images(images, tmp_path):
    loop = a_loop(images, tmp_path, ROBUST)
    figures = loop.run(Silent()).figures
    assert figures["test_kernel_distance"] > figures["baselines"]["training_images"]
    assert set(figures["mean_probability"]) == {"drawn", "test"}
    distance, floor = figures["test_kernel_distance"], figures["baselines"]["training_images"]
    headline = f"kernel distance {distance} (training images {floor}; 20 images)"
    assert loop.task.headline(figures) == headline


def test_calibrated_scores_are_probabilities():
    # Given scores that are normal with means ±1, whose true probability is known: sigmoid(2 · score).
    torch.manual_seed(0)
    slope, offset = calibration(torch.randn(20000) + 1, torch.randn(20000) - 1)
    assert slope == pytest.approx(2.0, abs=0.1)
    assert offset == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_calibration_does_not_depend_on_the_scores_scale(scale):
    torch.manual_seed(0)
    real, drawn = torch.randn(500) + 3, torch.randn(500) + 2
    slope, offset = calibration(scale * real, scale * drawn)
    expected_slope, expected_offset = calibration(real, drawn)
    assert slope * scale == pytest.approx(expected_slope, rel=1e-2)
    assert offset == pytest.approx(expected_offset, rel=1e-2)


def test_a_discriminator_that_is_always_wrong_gives_one_half():
    torch.manual_seed(0)
    slope, offset = calibration(torch.randn(500) - 2, torch.randn(500) + 2)
    assert slope == 0.0
    assert offset == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"variant": "wild"}, "no GAN variant 'wild': choose robust or lecture"),
        ({"network": {"generator": [8]}}, r"\[network\] is wrong at generator"),
        ({"network": {"pigments": 1}}, r"\[network\] is wrong at pigments"),
        ({"optimiser": {"generator_rate": 0}}, r"\[optimiser\] is wrong at generator_rate"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(images, changes, fault):
    with pytest.raises(RecipeRefused, match=fault):
        task(ROBUST.model_copy(update=changes), images, CPU)
