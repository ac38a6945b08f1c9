"""Losses: ours bounds the likelihood, the lecture's does not; the GAN's losses push scores in the right direction."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models import vae
from training.families import losses


@pytest.fixture
def given() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, pixels, mean and log-deviation of four images."""
    torch.manual_seed(1)
    return torch.randn(4, 3, 5, 6), torch.randint(6, (4, 3, 5)), torch.randn(4, 2), torch.randn(4, 2)


def test_reconstruction_error_is_the_cross_entropy_of_all_pixels(given):
    logits, pixels, mean, log_deviation = given
    expected = F.cross_entropy(logits.permute(0, 3, 1, 2), pixels, reduction="none").sum(dim=(1, 2))
    assert torch.allclose(losses.negative_elbo(logits, pixels, mean, log_deviation, 0.0), expected, atol=1e-4)


def test_the_weight_multiplies_the_divergence(given):
    logits, pixels, mean, log_deviation = given
    light, heavy = (
        losses.negative_elbo(logits, pixels, mean, log_deviation, weight) for weight in (1.0, 3.0)
    )
    assert torch.allclose(heavy - light, 2 * vae.divergence(mean, log_deviation), atol=1e-3)


def test_the_lectures_penalty_is_twice_the_divergence_of_different_latents(given):
    logits, pixels, mean, log_variance = given
    light, heavy = (losses.lecture_vae(logits, pixels, mean, log_variance, weight) for weight in (1.0, 2.0))
    penalty = heavy - light
    # σ as the logarithm of a variance
    assert torch.allclose(penalty, 2 * vae.divergence(mean, log_variance / 2), atol=1e-4)
    # σ as the logarithm of a standard deviation, as the latents use it
    assert not torch.allclose(penalty, 2 * vae.divergence(mean, log_variance), atol=0.1)
    assert not torch.allclose(penalty, vae.divergence(mean, log_variance), atol=0.1)


def test_the_lectures_gan_loss_is_binary_cross_entropy():
    real, generated = torch.randn(8), torch.randn(8)
    expected = F.binary_cross_entropy(real.sigmoid(), torch.ones(8)) + F.binary_cross_entropy(
        generated.sigmoid(), torch.zeros(8)
    )
    assert losses.lecture_discriminator(real, generated) == pytest.approx(expected.item(), abs=1e-5)
    as_if_real = F.binary_cross_entropy(generated.sigmoid(), torch.ones(8))
    assert losses.lecture_generator(generated) == pytest.approx(as_if_real.item(), abs=1e-5)


def test_scores_beyond_the_hinge_cost_nothing():
    assert losses.hinge_discriminator(torch.tensor([1.5]), torch.tensor([-2.0])) == 0
    assert losses.hinge_discriminator(torch.tensor([0.0]), torch.tensor([0.0])) == 2


@pytest.mark.parametrize("loss", [losses.hinge_generator, losses.lecture_generator])
def test_the_generators_loss_falls_as_the_score_rises(loss):
    assert loss(torch.tensor([2.0])) < loss(torch.tensor([-2.0]))
