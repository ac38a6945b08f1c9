"""Trains a VAE, or the plain auto-encoder for comparison."""

from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from models import vae
from models.vae import VAE, Enlarging
from training.data.augmentation import mirrored
from training.errors import RecipeRefused
from training.families import losses
from training.families.descent import Descent, DescentOptions
from training.families.options import Count, Fraction, NotNegative, Positive, Probability, Table
from training.families.schedule import ramp
from training.images import ImageSet, Pixels
from training.measures import baselines
from training.measures.comparison import likelihood_figures
from training.recipe import Recipe, options

MEASURE_BATCH = 256  # images measured at once
VALID_DRAWS, TEST_DRAWS = 4, 16  # draws of the noise for each image: the bound is their mean
ACTIVE = 0.01  # a latent is active if the variance of its mean over images is larger (Burda et al., 2016)
LOSSES = {"elbo": losses.negative_elbo, "lecture": losses.lecture_vae}
PLAIN = "plain"  # the auto-encoder's only variant


class NetworkOptions(Table):
    """The recipe's [network]."""

    latent: Count = 10
    embedding: Count = 16
    channels: Annotated[tuple[Count, ...], Field(min_length=1, max_length=5, strict=False)] = (32, 48, 80)
    hidden: Count = 128
    dropout: Fraction = 0.0
    enlarging: Enlarging = "nearest"


class OptimiserOptions(DescentOptions):
    """The recipe's [optimiser]: AdamW with a one-cycle schedule."""

    learning_rate: Positive = 2e-3  # the highest
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.1  # share of the steps
    weight_decay: NotNegative = 0.01
    average: Fraction = 0.995  # decay of the moving average of the weights
    gradient_norm: Positive = 5.0  # of the loss in nats per pixel
    flip: Probability = 0.0  # share of the images that are mirrored left to right


class LossOptions(Table):
    """The recipe's [loss]."""

    # The penalty's weight rises from 0 to 1 during this share of the steps; otherwise all latents become inactive.
    penalty_from_step_part: Probability = 0.2


class VAETask(Descent[VAE]):
    """A VAE in training; the variant `plain`, without noise and penalty, is the auto-encoder."""

    unit = "nats/image"

    def __init__(
        self,
        network: VAE,
        chosen: OptimiserOptions,
        loss: LossOptions,
        device: torch.device,
        *,
        variant: str,
    ) -> None:
        super().__init__(network, chosen, device, betas=(0.9, 0.999))
        self.flip, self.loss = chosen.flip, loss
        self.plain = variant == PLAIN
        self.has_likelihood = not self.plain
        self.loss_of_images = LOSSES["elbo" if self.plain else variant]

    def step(self, images: Tensor, progress: float) -> float:
        """One update; returns the loss in nats per image of this batch."""
        self.network.train()
        images = mirrored(images, self.flip)
        weight = 0.0 if self.plain else ramp(progress, self.loss.penalty_from_step_part)
        with self._autocast():
            outputs = self.network(images, self._noise(len(images)))
        logits, mean, log_deviation = (output.float() for output in outputs)
        nats = self.loss_of_images(logits, images, mean, log_deviation, weight).mean()
        self.descend(nats / images[0].numel(), progress)
        return nats.item()

    def _autocast(self) -> torch.autocast:
        # torch's setting for matrix products does not apply to convolutions: they need autocast.
        coarse = self._chosen.products == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=coarse)

    def _noise(self, count: int) -> Tensor:
        shape = count, self.network.latent_size
        return (torch.zeros(shape) if self.plain else torch.randn(shape)).to(self.device)

    def validate(self, pixels: Pixels) -> float:
        """−ELBO in nats per image, for the auto-encoder the reconstruction error, whatever the training loss is."""
        error, penalty = self._measure(pixels, VALID_DRAWS)
        return float((error + penalty).mean())

    def sheet(self, count: int) -> Pixels:
        """Images drawn from normal latents, although the auto-encoder's latents are not normal."""
        latent = torch.randn(count, self.network.latent_size).to(self.device)
        with torch.no_grad():
            return vae.draw(self.averaged, latent).cpu().numpy()

    def figures(self, images: ImageSet) -> dict[str, Any]:
        """The bound for the test images and its two parts, with the counting baselines."""
        error, penalty = self._measure(images.test, TEST_DRAWS)
        counted = baselines.nats_per_image(images)
        name = "test_reconstruction_nats_per_image" if self.plain else "test_negative_elbo_nats_per_image"
        found = likelihood_figures(error + penalty, images, counted, name=name)
        if self.plain:
            return found
        parts = {
            "reconstruction": round(float(error.mean()), 2),
            "divergence": round(float(penalty.mean()), 2),
        }
        return found | {"parts": parts, "draws": TEST_DRAWS, "active_latents": self._active(images.test)}

    def nats(self, pixels: Pixels) -> NDArray[np.float64]:
        """−ELBO of every image, for the auto-encoder the reconstruction error: (images,)."""
        error, penalty = self._measure(pixels, TEST_DRAWS)
        return np.asarray(error + penalty)

    def headline(self, figures: dict[str, Any]) -> str:
        """E.g. '812.3 nats/image (-ELBO, 75 images)'."""
        if self.plain:
            value, what = figures["test_reconstruction_nats_per_image"], "reconstruction only"
        else:
            value, what = figures["test_negative_elbo_nats_per_image"], "-ELBO"
        return f"{value:.1f} nats/image ({what}, {figures['test_images']} images)"

    @torch.no_grad()
    def _measure(self, pixels: Pixels, draws: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Reconstruction error and divergence of every image in nats, each (images,); the divergence is 0 if plain."""
        parts = [
            self._measure_part(part, draws) for part in torch.split(torch.from_numpy(pixels), MEASURE_BATCH)
        ]
        error, penalty = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
        return error, penalty * (not self.plain)

    def _measure_part(self, pixels: Tensor, draws: int) -> tuple[Tensor, Tensor]:
        pixels = pixels.to(self.device)
        errors = []
        for _ in range(1 if self.plain else draws):
            logits, mean, log_deviation = self.averaged(pixels, self._noise(len(pixels)))
            errors.append(-vae.log_likelihood(logits, pixels).double())
        return torch.stack(errors).mean(dim=0), vae.divergence(mean, log_deviation).double()

    @torch.no_grad()
    def _active(self, pixels: Pixels) -> int:
        """How many latents are active."""
        mean, _ = self.averaged.encode(torch.from_numpy(pixels).to(self.device))
        return int((mean.var(dim=0) > ACTIVE).sum())


def make_network(recipe: Recipe, *, height: int, width: int, colours: int) -> VAE:
    """The network that the recipe describes, untrained; raises RecipeRefused."""
    tables(recipe)
    chosen = options(NetworkOptions, recipe.network, "network")
    return VAE(height=height, width=width, colours=colours, **chosen.model_dump())


def tables(recipe: Recipe) -> dict[str, type[Table]]:
    """The classes of the recipe's tables; raises RecipeRefused."""
    known = [PLAIN] if recipe.family == "autoencoder" else list(LOSSES)
    if recipe.variant not in known:
        raise RecipeRefused(
            f"There is no variant '{recipe.variant}' of the family {recipe.family}: choose {' or '.join(known)}."
        )
    return {"network": NetworkOptions, "optimiser": OptimiserOptions, "loss": LossOptions}


def task(recipe: Recipe, images: ImageSet, device: torch.device) -> VAETask:
    """The task that the recipe describes; torch's global generator draws the first weights."""
    network = make_network(recipe, height=images.height, width=images.width, colours=images.colours)
    return VAETask(
        network,
        options(OptimiserOptions, recipe.optimiser, "optimiser"),
        options(LossOptions, recipe.loss, "loss"),
        device,
        variant=recipe.variant,
    )
