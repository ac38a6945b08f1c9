"""GAN: a generator makes images from noise, a discriminator tells them from real ones, and each learns from the other.

Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014. The generator paints in colours, and its image is
then snapped to the palette, because an index has no gradient; the discriminator reads colours too. Spectral
normalisation can bound it (Miyato et al., "Spectral Normalization for GANs", ICLR 2018).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from models.vae import Doubled, halved


class Generator(nn.Module):
    """Latent → a few colours for the whole image, and for every pixel the choice of one of them.

    A sprite has few colours and flat areas: when every pixel was free in red, green and blue, areas were noisy and
    figures had halos. The first colour is the backdrop; it is learned, and the same in all images. The choices come
    from a small map that is doubled in size step by step. With `blends`, a pixel mixes the colours instead: for images
    such as scanned digits, which have soft edges.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        latent: int = 48,
        channels: Sequence[int] = (128, 64, 32),
        pigments: int = 16,
        blends: bool = False,
    ) -> None:
        super().__init__()
        self.height, self.width, self.latent_size = height, width, latent
        smallest, *sizes = halved(height, width, len(channels) - 1)[::-1]
        first = channels[0]
        doubling = [
            layer
            for (before, after), size in zip(pairwise(channels), sizes, strict=True)
            for layer in (
                Doubled(size),
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            )
        ]
        self.choices = nn.Sequential(
            nn.Linear(latent, first * smallest[0] * smallest[1], bias=False),
            nn.Unflatten(1, (first, *smallest)),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            *doubling,
            nn.Conv2d(channels[-1], pigments, 3, padding=1),
        )
        self.mixing = nn.Sequential(
            nn.Linear(latent, first),
            nn.ReLU(),
            nn.Linear(first, 3 * (pigments - 1)),
            nn.Unflatten(1, (pigments - 1, 3)),
        )
        self.backdrop = nn.Parameter(torch.zeros(1, 1, 3))
        self.blends = blends

    def forward(self, latent: Tensor) -> Tensor:
        """(batch, latent_size) → red, green and blue in (−1, 1): (batch, 3, height, width)."""
        mixed = self.mixing(latent)  # (batch, pigments − 1, 3)
        pigments = torch.cat([self.backdrop.expand(mixed.shape[0], -1, -1), mixed], dim=1).tanh()
        if self.blends:
            return _blend(pigments, self.choices(latent))
        return (_paint_softly if self.training else _paint)(pigments, self.choices(latent))


def _paint(pigments: Tensor, choices: Tensor) -> Tensor:
    """Each pixel in its preferred pigment: (batch, n, 3), (batch, n, height, width) → (batch, 3, height, width)."""
    preferred = choices.argmax(dim=1)  # (batch, height, width)
    flat = preferred.flatten(1)[..., None].expand(-1, -1, 3)
    painted = pigments.gather(1, flat).permute(0, 2, 1)  # (batch, 3, height · width)
    image: Tensor = painted.unflatten(2, choices.shape[2:])  # type: ignore[no-untyped-call]  # torch's
    return image


def _paint_softly(pigments: Tensor, choices: Tensor) -> Tensor:
    """The same colours; gradients pass as if each pixel had been mixed from all pigments (straight through)."""
    soft = choices.softmax(dim=1)
    hard = torch.zeros_like(soft).scatter_(1, choices.argmax(dim=1, keepdim=True), 1.0)
    return torch.einsum("bnc,bnhw->bchw", pigments, soft + (hard - soft).detach())


def _blend(pigments: Tensor, choices: Tensor) -> Tensor:
    """Each pixel a mixture of all pigments; shapes as above."""
    shares = choices.softmax(dim=1)
    return (shares[:, :, None] * pigments[..., None, None]).sum(dim=1)


class Discriminator(nn.Module):
    """Colours → maps of half the size each time → one number: the larger, the more real the image looks.

    `slope` and `offset` turn that number into a probability; training sets them if its loss does not give one. Spectral
    normalisation bounds slopes, and `sensitivity` undoes some of that: without it, the discriminator could not tell
    white from a light background.
    """

    slope: Tensor
    offset: Tensor

    def __init__(
        self,
        *,
        height: int,
        width: int,
        channels: Sequence[int] = (32, 64, 128),
        spectral: bool = True,
        sensitivity: float = 2.5,
    ) -> None:
        super().__init__()
        self.sensitivity = sensitivity
        bound = parametrizations.spectral_norm if spectral else _unbound
        smallest = halved(height, width, len(channels) - 1)[-1]
        halving = [
            layer
            for before, after in pairwise(channels)
            for layer in (bound(nn.Conv2d(before, after, 3, stride=2, padding=1)), nn.LeakyReLU(0.2))
        ]
        self.layers = nn.Sequential(
            bound(nn.Conv2d(3, channels[0], 3, padding=1)),
            nn.LeakyReLU(0.2),
            *halving,
            nn.Flatten(),
            bound(nn.Linear(channels[-1] * smallest[0] * smallest[1], 1)),
        )
        self.register_buffer("slope", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def forward(self, colours: Tensor) -> Tensor:
        """(batch, 3, height, width) in (−1, 1) → (batch,)."""
        number: Tensor = self.layers(self.sensitivity * colours)[:, 0]
        return number

    def probability(self, colours: Tensor) -> Tensor:
        """P(real) of images (batch, 3, height, width): (batch,)."""
        number: Tensor = self(colours)
        return (self.slope * number + self.offset).sigmoid()

    def unbind(self) -> None:
        """Replace the weights by their normalised values, without the normalisation: for export."""
        for layer in self.layers:
            if parametrize.is_parametrized(layer):
                parametrize.remove_parametrizations(layer, "weight")


def colours_of(palette: Tensor, pixels: Tensor) -> Tensor:
    """Pixels (batch, height, width) as colours (batch, 3, height, width); the palette (colours, 3) lies in (−1, 1)."""
    return palette[pixels].permute(0, 3, 1, 2)


def distances(palette: Tensor, colours: Tensor) -> Tensor:
    """How far colours (batch, 3, height, width) are from each of the palette's: (batch, height, width, colours).

    Squared distances without the square of the colour itself, which is the same for the whole palette.
    """
    return palette.square().sum(dim=1) - 2 * (colours.permute(0, 2, 3, 1) @ palette.T)


def snap(palette: Tensor, colours: Tensor) -> Tensor:
    """The palette's nearest colour for every pixel: (batch, 3, height, width) → (batch, height, width) int64."""
    return torch.argmin(distances(palette, colours), dim=-1)


def snapped(palette: Tensor, colours: Tensor) -> Tensor:
    """The colours (batch, 3, height, width) moved to the palette's nearest; gradients pass as if they had not moved.

    This is the straight-through estimator of Bengio et al., "Estimating or Propagating Gradients Through Stochastic
    Neurons", 2013.
    """
    return colours + (colours_of(palette, snap(palette, colours.detach())) - colours.detach())


def _unbound(layer: nn.Module) -> nn.Module:
    return layer
