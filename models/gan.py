"""GAN: a generator makes images of noise, a discriminator tells them from real ones, and each learns from the other.

Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014. The generator paints in colours and its image is then
snapped to the palette, because an index cannot be learned by a gradient; the discriminator looks at colours too. It may
be bound by spectral normalisation (Miyato et al., "Spectral Normalization for GANs", ICLR 2018).
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from models.vae import Doubled, halved


class Generator(nn.Module):
    """Latent → the smallest map → maps of twice the size each time → colours in (−1, 1).

    Two layers are painted, as in Vondrick et al., "Generating Videos with Scene Dynamics", NeurIPS 2016: a figure with
    its mask, before a backdrop of one learned colour. A plain background need not be painted pixel by pixel, and stays
    plain when it is snapped.
    """

    def __init__(
        self, *, height: int, width: int, latent: int = 48, channels: Sequence[int] = (128, 64, 32)
    ) -> None:
        super().__init__()
        self.height, self.width, self.latent_size = height, width, latent
        smallest, *sizes = halved(height, width, len(channels) - 1)[::-1]
        first = channels[0]
        doubling = [
            layer
            for before, after, size in zip(channels[:-1], channels[1:], sizes, strict=True)
            for layer in (
                Doubled(size),
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            )
        ]
        self.layers = nn.Sequential(
            nn.Linear(latent, first * smallest[0] * smallest[1], bias=False),
            nn.Unflatten(1, (first, *smallest)),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            *doubling,
            nn.Conv2d(channels[-1], 4, 3, padding=1),
        )
        self.backdrop = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, latent: Tensor) -> Tensor:
        """(batch, latent_size) → red, green and blue in (−1, 1): (batch, 3, height, width)."""
        figure, mask = self.layers(latent).split([3, 1], dim=1)
        backdrop = self.backdrop.tanh()
        return cast(Tensor, backdrop + self._share(mask) * (figure.tanh() - backdrop))

    def _share(self, mask: Tensor) -> Tensor:
        """1 where the figure is, 0 where the backdrop: never between, or every figure had a halo of mixed colours."""
        hard = (mask > 0).to(mask.dtype)
        soft = mask.sigmoid()
        return soft + (hard - soft).detach() if self.training else hard  # learns by the soft one's gradient


class Discriminator(nn.Module):
    """Colours → maps of half the size each time → one number: the larger, the more real the image looks.

    `slope` and `offset` turn that number into a probability; training sets them where its loss does not mean one.
    """

    slope: Tensor
    offset: Tensor

    def __init__(
        self, *, height: int, width: int, channels: Sequence[int] = (32, 64, 128), spectral: bool = True
    ) -> None:
        super().__init__()
        bound = parametrizations.spectral_norm if spectral else _unbound
        smallest = halved(height, width, len(channels) - 1)[-1]
        halving = [
            layer
            for before, after in zip(channels[:-1], channels[1:], strict=True)
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
        return cast(Tensor, self.layers(colours))[:, 0]

    def probability(self, colours: Tensor) -> Tensor:
        """P(real) of images (batch, 3, height, width): (batch,)."""
        return (self.slope * self(colours) + self.offset).sigmoid()

    def unbind(self) -> None:
        """Keep the normalised weights as they are now, and drop the normalisation: for export."""
        for layer in self.layers:
            if parametrize.is_parametrized(layer):
                parametrize.remove_parametrizations(layer, "weight")


def colours_of(palette: Tensor, pixels: Tensor) -> Tensor:
    """Pixels (batch, height, width) as colours (batch, 3, height, width); the palette (colours, 3) lies in (−1, 1)."""
    return palette[pixels].permute(0, 3, 1, 2)


def distances(palette: Tensor, colours: Tensor) -> Tensor:
    """How far colours (batch, 3, height, width) are from each of the palette's: (batch, height, width, colours).

    Squared distances, less the square of the colour itself, which is the same for the whole palette.
    """
    return palette.square().sum(dim=1) - 2 * (colours.permute(0, 2, 3, 1) @ palette.T)


def snap(palette: Tensor, colours: Tensor) -> Tensor:
    """The palette's nearest colour for every pixel: (batch, 3, height, width) → (batch, height, width) int64."""
    return torch.argmin(distances(palette, colours), dim=-1)


def snapped(palette: Tensor, colours: Tensor) -> Tensor:
    """The colours (batch, 3, height, width) moved to the palette's nearest; gradients pass as if they had stayed.

    Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons", 2013, call it straight through.
    """
    return colours + (colours_of(palette, snap(palette, colours.detach())) - colours.detach())


def _unbound(layer: nn.Module) -> nn.Module:
    return layer
