"""Trains a PixelRNN by maximum likelihood, which is exact."""

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from models import likeness, pixel_rnn
from models.diagonal import DiagonalPixelRNN
from models.pixel_rnn import LecturePixelRNN
from training.data import augmentation
from training.errors import RecipeRefused
from training.families.descent import Descent, DescentOptions
from training.families.options import Count, Fraction, Layers, NotNegative, Positive, Probability, Table
from training.images import ImageSet, Pixels
from training.measures import baselines
from training.measures.comparison import likelihood_figures
from training.recipe import Recipe, options

SCORE_BATCH = 128  # images scored at once
Network = LecturePixelRNN | DiagonalPixelRNN


class LectureOptions(Table):
    """The recipe's [network], variant lecture."""

    embedding: Count = 64
    hidden: Count = 512
    dropout: Fraction = 0.0
    recurrent_dropout: Fraction = 0.0


class DiagonalOptions(Table):
    """The recipe's [network], variant diagonal."""

    layers: Layers = 2
    hidden: Count = 32  # cells per direction of a layer
    features: Count = 64  # values per pixel; every layer adds to them
    embedding: Count = 16
    head: Count = 64
    position: bool = False  # adds row and column to the features
    memory: bool = False  # adds to features and logits how often each colour was used so far
    copy_neighbours: Annotated[bool, Field(alias="copy")] = (
        False  # adds the six neighbours' colours to the logits
    )
    likeness: bool = False  # similar colours share what is learned
    dropout: Fraction = 0.0
    recurrent_dropout: Fraction = 0.0


VARIANTS: dict[str, tuple[type[Network], type[Table]]] = {
    "lecture": (LecturePixelRNN, LectureOptions),
    "diagonal": (DiagonalPixelRNN, DiagonalOptions),
}


class OptimiserOptions(DescentOptions):
    """The recipe's [optimiser]: AdamW with a one-cycle schedule."""

    learning_rate: Positive = 3e-3  # the highest
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.1  # share of the steps
    weight_decay: NotNegative = 0.01
    average: Fraction = 0.995  # decay of the moving average of the weights
    gradient_norm: Positive = 1.0
    flip: Probability = 0.0  # share of the images that are mirrored left to right
    recolour: Probability = 0.0  # share of the images whose hues are all turned by one angle


class PixelRNNTask(Descent[Network]):
    """A PixelRNN in training, which maximises the mean log-likelihood."""

    unit = "nats/image"
    has_likelihood = True

    def __init__(
        self, network: Network, chosen: OptimiserOptions, images: ImageSet, device: torch.device
    ) -> None:
        super().__init__(network, chosen, device, betas=(0.9, 0.99))
        self.flip, self.recolour = chosen.flip, chosen.recolour
        background = int(np.bincount(images.train.ravel()).argmax())
        self.tables = augmentation.recolourings(images.palette, background).to(device)

    def step(self, images: Tensor, progress: float) -> float:
        """One update; returns the nats per image of this batch, with dropout."""
        self.network.train()
        with self.rounding():
            shown = augmentation.recoloured(
                augmentation.mirrored(images, self.flip), self.tables, self.recolour
            )
            nats = -pixel_rnn.score(self.network, shown).sum((1, 2)).mean()
            self.descend(nats / images[0].numel(), progress)
        return nats.item()

    def validate(self, pixels: Pixels) -> float:
        """The nats per image of these images."""
        return float(self.nats(pixels).mean())

    def sheet(self, count: int) -> Pixels:
        """Images drawn with torch's random numbers."""
        uniform = 1.0 - torch.rand(count, self.network.height, self.network.width)  # (0, 1]
        return pixel_rnn.draw(self.averaged, uniform.to(self.device)).cpu().numpy()

    def figures(self, images: ImageSet) -> dict[str, Any]:
        """The exact likelihood of the test images, with the counting baselines."""
        return likelihood_figures(
            self.nats(images.test), images, baselines.nats_per_image(images), name="test_nats_per_image"
        )

    def headline(self, figures: dict[str, Any]) -> str:
        """E.g. '548.2 nats/image (80 images)'."""
        return f"{figures['test_nats_per_image']:.1f} nats/image ({figures['test_images']} images)"

    @torch.no_grad()
    def nats(self, pixels: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Negative log-likelihood of every image: (images,)."""
        parts = torch.split(torch.from_numpy(pixels), SCORE_BATCH)
        scored = [
            -pixel_rnn.score(self.averaged, part.to(self.device)).double().sum((1, 2)) for part in parts
        ]
        return torch.cat(scored).cpu().numpy()


def make_network(recipe: Recipe, *, height: int, width: int, colours: int) -> Network:
    """The network that the recipe describes, untrained; raises RecipeRefused."""
    chosen = options(tables(recipe)["network"], recipe.network, "network")
    make, _ = VARIANTS[recipe.variant]
    return make(height=height, width=width, colours=colours, **chosen.model_dump(by_alias=True))


def tables(recipe: Recipe) -> dict[str, type[Table]]:
    """The classes of the recipe's tables; raises RecipeRefused."""
    if recipe.variant not in VARIANTS:
        raise RecipeRefused(
            f"There is no PixelRNN variant '{recipe.variant}': choose one of {', '.join(VARIANTS)}."
        )
    return {"network": VARIANTS[recipe.variant][1], "optimiser": OptimiserOptions}


def task(recipe: Recipe, images: ImageSet, device: torch.device) -> PixelRNNTask:
    """The task that the recipe describes; torch's global generator draws the first weights."""
    network = make_network(recipe, height=images.height, width=images.width, colours=images.colours)
    likeness.know(network, images.palette)
    return PixelRNNTask(network, options(OptimiserOptions, recipe.optimiser, "optimiser"), images, device)
