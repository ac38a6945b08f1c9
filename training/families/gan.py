"""Trains a GAN: in every step first the discriminator learns, then the generator; the other network is fixed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from models import gan
from models.gan import Discriminator, Generator
from smalti import palette as colours
from training import finite
from training.data.augmentation import differentiably, mirrored
from training.errors import RecipeRefused
from training.families import losses
from training.families.averaging import Average, fill_optimiser
from training.families.options import Count, Fraction, Positive, Probability, Table
from training.images import ImageSet, Pixels
from training.measures.distances import Yardstick
from training.recipe import Recipe, options

CALIBRATION_DRAWN, TEST_DRAWN = 512, 2048  # images drawn, to compare them with real ones
DRAW_BATCH = 256
Channels = Annotated[tuple[Count, ...], Field(min_length=2, max_length=5, strict=False)]


@dataclass(frozen=True, slots=True)
class Mode:
    """How the two networks of a variant learn."""

    spectral: bool  # the discriminator's weights have spectral normalisation
    augments: bool  # the discriminator sees images only after augmentation
    snaps: bool  # the discriminator sees generated images in the palette's colours, as users do
    calibrates: bool  # the discriminator's output must be calibrated to be a probability
    discriminator_loss: Callable[[Tensor, Tensor], Tensor]
    generator_loss: Callable[[Tensor], Tensor]


MODES = {
    "robust": Mode(True, True, True, True, losses.hinge_discriminator, losses.hinge_generator),
    "lecture": Mode(False, False, False, False, losses.lecture_discriminator, losses.lecture_generator),
}


class NetworkOptions(Table):
    """The recipe's [network]."""

    latent: Count = 48
    generator: Channels = (128, 64, 32)
    pigments: Annotated[int, Field(ge=2, le=256)] = 16  # colours that the generator makes for one image
    blends: bool = False  # a pixel mixes the pigments instead of choosing one
    discriminator: Channels = (32, 64, 128)
    sensitivity: Positive = 2.5  # the discriminator's, to small differences of colour


class OptimiserOptions(Table):
    """The recipe's [optimiser]: Adam for both networks."""

    generator_rate: Positive = 4e-4
    discriminator_rate: Positive = 4e-4
    momentum: Fraction = 0.5  # Adam's first beta
    average: Fraction = 0.999  # decay of the moving average of the generator; 0 keeps the newest weights
    flip: Probability = 0.0  # share of the real images that are mirrored left to right


class GANTask:
    """Generator and discriminator in training."""

    unit = "discriminator's loss"

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        chosen: OptimiserOptions,
        images: ImageSet,
        device: torch.device,
        *,
        mode: Mode,
    ) -> None:
        self.options, self.mode, self.device = chosen, mode, device
        self.generator, self.discriminator = generator.to(device), discriminator.to(device)
        self.palette = palette_colours(images.palette).to(device)
        self.yardstick = Yardstick(images.train, images.palette)
        self.average = Average(self.generator, chosen.average)
        self.generator_optimiser = self._optimiser(generator, chosen.generator_rate)
        self.discriminator_optimiser = self._optimiser(discriminator, chosen.discriminator_rate)

    def _optimiser(self, network: nn.Module, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), lr=rate, betas=(self.options.momentum, 0.99))

    @property
    def averaged(self) -> Generator:
        """The generator whose weights are the moving average: it draws and is exported."""
        return self.average.network

    def step(self, images: Tensor, progress: float) -> float:
        """One update of each network; returns the discriminator's loss."""
        loss = self.discriminator_step(images)
        self.generator_step(len(images))
        self.average.update(self.generator)
        return loss

    def rates(self) -> dict[str, float]:
        """The learning rates of both networks."""
        return {
            "generator_rate": self.options.generator_rate,
            "discriminator_rate": self.options.discriminator_rate,
        }

    def discriminator_step(self, images: Tensor) -> float:
        """Train the discriminator to tell these images from as many generated ones; returns its loss."""
        real = gan.colours_of(self.palette, mirrored(images, self.options.flip))
        with fixed(self.generator):
            generated = self._generate(len(images))
        self.discriminator.train()
        loss = self.mode.discriminator_loss(self._judge(real), self._judge(generated))
        finite.require(loss, "the discriminator's loss")
        self.discriminator_optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's backward is untyped
        finite.require_gradients(
            self.discriminator.parameters(), "the length of the discriminator's gradient"
        )
        self.discriminator_optimiser.step()
        return loss.item()

    def generator_step(self, count: int) -> float:
        """Train the generator to make `count` images look real, with a fixed discriminator; returns its loss."""
        self.generator.train()
        with fixed(self.discriminator):
            loss = self.mode.generator_loss(self._judge(self._generate(count)))
            finite.require(loss, "the generator's loss")
            self.generator_optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # as above
        finite.require_gradients(self.generator.parameters(), "the length of the generator's gradient")
        self.generator_optimiser.step()
        return loss.item()

    def _generate(self, count: int) -> Tensor:
        colours = self.generator(self._latents(count))
        return gan.snapped(self.palette, colours) if self.mode.snaps else colours

    def _judge(self, images: Tensor) -> Tensor:
        return self.discriminator(differentiably(images) if self.mode.augments else images)  # type: ignore[no-any-return]

    def _latents(self, count: int) -> Tensor:
        return torch.randn(count, self.generator.latent_size).to(self.device)

    def validate(self, pixels: Pixels) -> None:
        """Calibrate the discriminator; there is no figure, so the newest weights count as the best.

        The kernel distance to the validation images is not used to choose: it varies much, and was once lowest for
        sprites that were clearly worse than those drawn 2500 steps later.
        """
        if self.mode.calibrates:
            self._calibrate(pixels, self.sheet(CALIBRATION_DRAWN))

    def sheet(self, count: int) -> Pixels:
        """Images drawn from normal latents, in the palette."""
        with torch.no_grad():
            parts = [
                gan.snap(self.palette, self.averaged(part))
                for part in torch.split(self._latents(count), DRAW_BATCH)
            ]
        return torch.cat(parts).cpu().numpy()

    @torch.no_grad()
    def _scores(self, pixels: Pixels) -> Tensor:
        """The discriminator's scores of images without augmentation: (images,)."""
        self.discriminator.eval()
        return torch.cat([
            self.discriminator(gan.colours_of(self.palette, part.to(self.device)))
            for part in torch.split(torch.from_numpy(pixels), DRAW_BATCH)
        ])  # fmt: skip

    def _calibrate(self, real: Pixels, drawn: Pixels) -> None:
        """Fit P(real) to validation images and drawn ones, half of each (Platt, 1999)."""
        slope, offset = calibration(self._scores(real), self._scores(drawn))
        self.discriminator.slope.fill_(slope)
        self.discriminator.offset.fill_(offset)

    def weights(self) -> dict[str, Any]:
        """The averaged generator and the discriminator."""
        networks = {"generator": self.averaged, "discriminator": self.discriminator}
        return {
            name: {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
            for name, network in networks.items()
        }

    def use(self, weights: dict[str, Any]) -> None:
        """Load these weights into the averaged generator and the discriminator."""
        self.averaged.load_state_dict(weights["generator"])
        self.discriminator.load_state_dict(weights["discriminator"])

    def figures(self, images: ImageSet) -> dict[str, Any]:
        """Distances between drawn and test images, and the discriminator's mean P(real) for both."""
        drawn = self.sheet(TEST_DRAWN)
        return self.yardstick.figures(drawn, images) | {
            "mean_probability": {
                "drawn": self._mean_probability(drawn),
                "test": self._mean_probability(images.test),
            }
        }

    @torch.no_grad()
    def _mean_probability(self, pixels: Pixels) -> float:
        scores = self._scores(pixels) * self.discriminator.slope + self.discriminator.offset
        return round(float(scores.sigmoid().mean()), 3)

    def headline(self, figures: dict[str, Any]) -> str:
        """E.g. 'kernel distance 63.1 (training images 8.9; 75 images)'."""
        floor = figures["baselines"]["training_images"]
        distance, count = figures["test_kernel_distance"], figures["test_images"]
        return f"kernel distance {distance} (training images {floor}; {count} images)"

    def state_dict(self) -> dict[str, Any]:
        """Both networks, the average and both optimisers."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        for name, part in self._parts().items():
            if isinstance(part, torch.optim.Optimizer):
                fill_optimiser(part, state[name])
            else:
                part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        names = "generator", "discriminator", "average", "generator_optimiser", "discriminator_optimiser"
        return {name: getattr(self, name) for name in names}


@contextmanager
def fixed(network: nn.Module) -> Iterator[None]:
    """Fix a network's parameters: they get no gradients, but gradients pass through to its inputs.

    The vectors of spectral normalisation are fixed, too; otherwise they would change whenever a network in training
    mode is used. Batch normalisation stays in training mode: with older statistics, the generator would be another one.
    """
    network.requires_grad_(False)
    bound = [
        module for module in network.modules() if isinstance(module, nn.utils.parametrize.ParametrizationList)
    ]
    training = [module for part in bound for module in part.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        network.requires_grad_(True)
        for module in training:
            module.training = True


def calibration(real: Tensor, generated: Tensor, *, rounds: int = 50) -> tuple[float, float]:
    """Slope and offset so that sigmoid(slope · score + offset) is P(real), by logistic regression.

    Real and generated images have the same weight. A negative slope becomes 0: the discriminator has learned nothing.
    """
    middle = torch.cat([real, generated]).mean()
    spread = torch.cat([real, generated]).std().clamp_min(1e-6)
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([line], max_iter=rounds, line_search_fn="strong_wolfe")
    real, generated = ((scores - middle).double() / spread for scores in (real.cpu(), generated.cpu()))

    def loss() -> Tensor:
        optimiser.zero_grad()
        error = (
            F.softplus(-(line[0] * real + line[1])).mean() + F.softplus(line[0] * generated + line[1]).mean()
        )
        error = error + 1e-3 * line[0].square()  # the slope would be infinite if the scores were separable
        error.backward()  # type: ignore[no-untyped-call]  # torch's backward is untyped
        return error

    optimiser.step(loss)  # type: ignore[no-untyped-call]  # torch's optimisers are half typed
    steepness, level = line.detach().tolist()
    slope = max(0.0, steepness) / float(spread)
    return slope, level - slope * float(middle)


def palette_colours(palette: tuple[str, ...]) -> Tensor:
    """The palette in the form for the networks: (colours, 3) in −1 … 1."""
    return torch.from_numpy(colours.parse(palette).astype(np.float32) / 127.5 - 1.0)


def find_mode(recipe: Recipe) -> Mode:
    """The mode of the recipe's variant; raises RecipeRefused."""
    if recipe.variant not in MODES:
        raise RecipeRefused(f"There is no GAN variant '{recipe.variant}': choose {' or '.join(MODES)}.")
    return MODES[recipe.variant]


def make_networks(recipe: Recipe, *, height: int, width: int) -> tuple[Generator, Discriminator]:
    """The networks that the recipe describes, untrained; raises RecipeRefused."""
    mode = find_mode(recipe)
    chosen = options(NetworkOptions, recipe.network, "network")
    return (
        Generator(
            height=height,
            width=width,
            latent=chosen.latent,
            channels=chosen.generator,
            pigments=chosen.pigments,
            blends=chosen.blends,
        ),
        Discriminator(
            height=height,
            width=width,
            channels=chosen.discriminator,
            spectral=mode.spectral,
            sensitivity=chosen.sensitivity,
        ),
    )


def tables(recipe: Recipe) -> dict[str, type[Table]]:
    """The classes of the recipe's tables; raises RecipeRefused."""
    find_mode(recipe)
    return {"network": NetworkOptions, "optimiser": OptimiserOptions}


def task(recipe: Recipe, images: ImageSet, device: torch.device) -> GANTask:
    """The task that the recipe describes; torch's global generator draws the first weights."""
    generator, discriminator = make_networks(recipe, height=images.height, width=images.width)
    chosen = options(OptimiserOptions, recipe.optimiser, "optimiser")
    return GANTask(generator, discriminator, chosen, images, device, mode=find_mode(recipe))
