"""What the VAE and the GAN minimise, in the lecture's way and in ours."""

from torch import Tensor
from torch.nn import functional as F

from models import vae


def negative_elbo(
    logits: Tensor, pixels: Tensor, mean: Tensor, log_deviation: Tensor, weight: float
) -> Tensor:
    """Reconstruction error plus `weight` times the divergence, in nats for every image: (batch,).

    With weight 1 it is −ELBO of latents `exp(log_deviation)·e + mean`: both terms take `log_deviation` for the
    logarithm of the standard deviation.
    """
    return -vae.log_likelihood(logits, pixels) + weight * vae.divergence(mean, log_deviation)


def lecture_vae(logits: Tensor, pixels: Tensor, mean: Tensor, log_deviation: Tensor, weight: float) -> Tensor:
    """The lecture's formula, reconstruction error plus `weight · Σ exp(σ) − (1 + σ) + m²`, for every image: (batch,).

    A trap: with latents `c = exp(σ)·e + m`, as in the lecture and here, exp(σ) is a standard deviation, while the
    penalty is twice a divergence only if exp(σ) is a variance. So this bounds no likelihood, for two reasons: the
    penalty belongs to another distribution than the one drawn from, and weighs twice. Figures are −ELBO all the same.
    """
    penalty = (log_deviation.exp() - (1 + log_deviation) + mean.square()).sum(dim=1)
    return -vae.log_likelihood(logits, pixels) + weight * penalty


def hinge_discriminator(real: Tensor, generated: Tensor) -> Tensor:
    """Real images above 1, generated ones below −1; what is beyond counts no more (Lim, Ye, "Geometric GAN", 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + generated).mean()


def hinge_generator(generated: Tensor) -> Tensor:
    """As high as possible in the discriminator's eyes."""
    return -generated.mean()


def lecture_discriminator(real: Tensor, generated: Tensor) -> Tensor:
    """Binary cross-entropy with real = 1 and generated = 0, of the numbers before the sigmoid."""
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def lecture_generator(generated: Tensor) -> Tensor:
    """Binary cross-entropy as if generated images were real (the form of Goodfellow et al. that does not saturate)."""
    return F.softplus(-generated).mean()
