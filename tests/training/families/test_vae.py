"""Training a VAE and an auto-encoder: they learn, continue with the same bits, and report the right figures."""

import numpy as np
import pytest
import torch

from models import vae
from smalti.runtime.manifest import Data
from tests.training.reporters import Silent
from training.errors import RecipeRefused
from training.families.loading import make_task
from training.families.vae import VAETask, task
from training.images import ImageSet
from training.loop import Loop
from training.recipe import Recipe, TrainingRecipe

CPU = torch.device("cpu")
NETWORK = {"latent": 2, "embedding": 4, "channels": [8, 8], "hidden": 16, "dropout": 0.1}
VAE_RECIPE = Recipe(
    family="vae",
    variant="elbo",
    training=TrainingRecipe(steps=200, batch=8, validate_every=50),
    network=NETWORK,
    optimiser={"learning_rate": 0.01, "average": 0.9, "flip": 0.5},
)
PLAIN_RECIPE = VAE_RECIPE.model_copy(update={"family": "autoencoder", "variant": "plain"})
COARSE_RECIPE = VAE_RECIPE.model_copy(
    update={
        "network": NETWORK | {"enlarging": "transposed"},
        "optimiser": VAE_RECIPE.optimiser | {"products": "bfloat16"},
    }
)
LECTURE_RECIPE = VAE_RECIPE.model_copy(update={"variant": "lecture"})
RECIPES = {"elbo": VAE_RECIPE, "coarse": COARSE_RECIPE, "lecture": LECTURE_RECIPE, "plain": PLAIN_RECIPE}


@pytest.fixture(scope="module")
def images():
    """Images of one colour each, which one latent can encode."""
    flat = np.random.default_rng(0).integers(0, 3, (100, 1, 1)).repeat(5, axis=1).repeat(4, axis=2)
    about = Data(name="flat", source="", licence="", digest="0" * 64, images=100)
    return ImageSet(about, ("#000000", "#808080", "#ffffff"), flat[:60], flat[60:80], flat[80:])


def a_loop(images, folder, recipe):
    torch.manual_seed(recipe.seed)
    return Loop(make_task(recipe, images, CPU), images, recipe, folder, CPU)


def weights(checkpoint):
    return torch.cat([value.flatten() for value in checkpoint.best.weights.values()])


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_training_lowers_the_validation_figure(images, tmp_path, recipe):
    finished = a_loop(images, tmp_path, recipe).run(Silent())
    assert finished.curve[-1].valid < finished.curve[0].valid


@pytest.mark.parametrize("recipe", [VAE_RECIPE, PLAIN_RECIPE], ids=lambda recipe: recipe.variant)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(images, tmp_path, recipe):
    uninterrupted = a_loop(images, tmp_path / "whole", recipe).run(Silent())
    # given a training that was stopped between two validations
    a_loop(images, tmp_path / "parts", recipe).run(Silent(), until=lambda step: step == 60)
    torch.manual_seed(99)  # the new process may have drawn other random numbers
    again = a_loop(images, tmp_path / "parts", recipe)
    assert again.resume() == 60
    resumed = again.run(Silent())
    assert torch.equal(weights(resumed), weights(uninterrupted))
    assert resumed.figures == uninterrupted.figures


def test_a_vae_reports_its_bound_with_both_parts_and_the_baselines(images, tmp_path):
    loop = a_loop(images, tmp_path, VAE_RECIPE)
    figures = loop.run(Silent()).figures
    bound, parts = figures["test_negative_elbo_nats_per_image"], figures["parts"]
    assert bound == pytest.approx(parts["reconstruction"] + parts["divergence"], abs=0.02)
    assert parts["divergence"] > 0
    assert figures["baselines"]["uniform"] == pytest.approx(20 * np.log(3), abs=0.01)
    assert figures["test_interval_95"][0] < bound < figures["test_interval_95"][1]
    assert 1 <= figures["active_latents"] <= 2
    assert loop.task.headline(figures) == f"{bound:.1f} nats/image (-ELBO, 20 images)"


def test_the_reported_bound_is_the_models_elbo(images):
    torch.manual_seed(1)
    trained = task(VAE_RECIPE, images, CPU)
    pixels = torch.from_numpy(images.valid)
    torch.manual_seed(2)
    with torch.no_grad():
        drawn = [vae.elbo(trained.averaged, pixels, torch.randn(len(pixels), 2)).mean() for _ in range(4)]
    torch.manual_seed(2)
    assert trained.validate(images.valid) == pytest.approx(-float(np.mean(drawn)), rel=1e-5)


def test_an_auto_encoder_reports_its_reconstruction_only(images, tmp_path):
    loop = a_loop(images, tmp_path, PLAIN_RECIPE)
    figures = loop.run(Silent()).figures
    error = figures["test_reconstruction_nats_per_image"]
    assert "parts" not in figures
    assert loop.task.headline(figures) == f"{error:.1f} nats/image (reconstruction only, 20 images)"


def test_rounded_products_change_a_step_slightly_and_no_measurement(images):
    def stepped(products):
        torch.manual_seed(1)
        trained = task(
            COARSE_RECIPE.model_copy(update={"optimiser": {"products": products, "average": 0.0}}),
            images,
            CPU,
        )
        torch.manual_seed(2)
        untrained = trained.validate(images.train[:8])
        torch.manual_seed(2)
        return trained.step(torch.from_numpy(images.train[:8]), 0.5), untrained

    (coarse, coarse_untrained), (exact, exact_untrained) = stepped("bfloat16"), stepped("float32")
    assert coarse != exact
    assert coarse == pytest.approx(exact, rel=0.02)
    assert coarse_untrained == exact_untrained


def test_an_auto_encoder_has_no_noise(images):
    torch.manual_seed(1)
    plain = task(PLAIN_RECIPE, images, CPU)
    assert plain.validate(images.valid) == plain.validate(images.valid)


def test_the_weight_of_the_penalty_rises_gradually(images):
    torch.manual_seed(1)
    weights_used = []
    trained = task(VAE_RECIPE, images, CPU)
    own = trained.loss_of_images

    def spying(logits, pixels, mean, log_deviation, weight):
        weights_used.append(weight)
        return own(logits, pixels, mean, log_deviation, weight)

    trained.loss_of_images = spying
    for progress in (0.0, 0.1, 0.2, 0.9):
        trained.step(torch.from_numpy(images.train[:8]), progress)
    assert weights_used == [0.0, 0.5, 1.0, 1.0]


def test_a_sheet_has_the_requested_number_of_images(images):
    torch.manual_seed(1)
    sheet = task(VAE_RECIPE, images, CPU).sheet(10)
    assert sheet.shape == (10, 5, 4)
    assert 0 <= sheet.min() <= sheet.max() < 3


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"variant": "plain"}, "no variant 'plain' of the family vae: choose elbo or lecture"),
        ({"network": {"channels": []}}, r"\[network\] is wrong at channels"),
        ({"network": {"depth": 3}}, r"\[network\] is wrong at depth"),
        ({"optimiser": {"average": 1.0}}, r"\[optimiser\] is wrong at average"),
        ({"network": {"enlarging": "cubic"}}, r"\[network\] is wrong at enlarging"),
        ({"loss": {"beta": 2}}, r"\[loss\] is wrong at beta"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(images, changes, fault):
    with pytest.raises(RecipeRefused, match=fault):
        task(VAE_RECIPE.model_copy(update=changes), images, CPU)


def test_the_registry_finds_the_task_of_the_family(images):
    assert isinstance(make_task(PLAIN_RECIPE, images, CPU), VAETask)
