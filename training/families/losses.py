"""The losses of VAE and GAN: the lecture's and ours."""

from torch import Tensor
from torch.nn import functional as F

from models import vae


def negative_elbo(
    logits: Tensor, pixels: Tensor, mean: Tensor, log_deviation: Tensor, weight: float
) -> Tensor:
    """Reconstruction error plus `weight` times the divergence, in nats for every image: (batch,).

    With weight 1 it is −ELBO for latents `exp(log_deviation)·e + mean`: in both terms, `log_deviation` is the
    logarithm of the standard deviation.
    """
    return -vae.log_likelihood(logits, pixels) + weight * vae.divergence(mean, log_deviation)


def lecture_vae(logits: Tensor, pixels: Tensor, mean: Tensor, log_deviation: Tensor, weight: float) -> Tensor:
    """The lecture's formula, reconstruction error plus `weight · Σ exp(σ) − (1 + σ) + m²`, for every image: (batch,).

    Beware: with latents `c = exp(σ)·e + m`, as in the lecture and here, exp(σ) is a standard deviation. But the penalty
    is twice a divergence only if exp(σ) is a variance. So this loss is not a bound of the likelihood, for two reasons:
    the penalty belongs to another distribution than the latents, and it counts twice. Reported figures are still −ELBO.
    """
    penalty = (log_deviation.exp() - (1 + log_deviation) + mean.square()).sum(dim=1)
    return -vae.log_likelihood(logits, pixels) + weight * penalty


def hinge_discriminator(real: Tensor, generated: Tensor) -> Tensor:
    """Scores should be above 1 for real images, below −1 for generated ones (Lim and Ye, "Geometric GAN", 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + generated).mean()


def hinge_generator(generated: Tensor) -> Tensor:
    """The discriminator's scores of generated images should be as high as possible."""
    return -generated.mean()


def lecture_discriminator(real: Tensor, generated: Tensor) -> Tensor:
    """Binary cross-entropy with real = 1 and generated = 0, from the scores before the sigmoid."""
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def lecture_generator(generated: Tensor) -> Tensor:
    """Binary cross-entropy as if generated images were real (the non-saturating loss of Goodfellow et al.)."""
    return F.softplus(-generated).mean()
