"""VAE and auto-encoder: images ↔ latents of a few numbers, by one network.

Kingma, Welling, "Auto-Encoding Variational Bayes", ICLR 2014. The encoder gives a normal distribution of the image's
latent (`mean`, `log_deviation`); the decoder gives every pixel a distribution over the palette. With latents
distributed as N(0, 1) a priori, log P(image) ≥ E[log P(image | latent)] − KL(q(latent | image) ‖
N(0, 1)): the evidence lower bound, ELBO.

The plain auto-encoder is the same network without noise and without penalty: its latent is `mean`, and latents between
two known ones need not mean anything.

Random numbers are arguments: nothing is drawn here, so the exported graphs are deterministic.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Enlarging = Literal["nearest", "transposed"]


class VAE(nn.Module):
    """Pixel embedding → convolutions that halve the size each time → latent → the reverse → palette logits.

    The decoder enlarges by repeating pixels ("nearest", with a convolution at the full size) or by transposed
    convolutions of 4×4, each after a convolution at the smaller size ("transposed"): cheaper where colours are few.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        colours: int,
        latent: int = 10,
        embedding: int = 16,
        channels: Sequence[int] = (32, 48, 80),
        hidden: int = 128,
        dropout: float = 0.0,
        enlarging: Enlarging = "nearest",
    ) -> None:
        super().__init__()
        self.height, self.width, self.colours, self.latent_size = height, width, colours, latent
        sizes = halved(height, width, len(channels))  # from the image's own to the smallest
        self.encoder = _Encoder(sizes[-1], colours, latent, embedding, channels, hidden, dropout)
        enlarge = {"nearest": _repeating, "transposed": _transposing}[enlarging]
        layers = enlarge(channels[::-1], sizes[-2::-1], colours)
        self.decoder = _Decoder(sizes[-1], layers, latent, channels[-1], hidden, dropout)

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, height, width) int64 → mean and log of the standard deviation, each (batch, latent_size)."""
        mean, log_deviation = self.encoder(pixels).chunk(2, dim=1)
        return mean, log_deviation

    def decode(self, latent: Tensor) -> Tensor:
        """(batch, latent_size) → unnormalised log-probabilities (batch, height, width, colours)."""
        logits: Tensor = self.decoder(latent)
        return logits

    def forward(self, pixels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the images decoded from latents moved by standard normal noise; mean and log-deviation."""
        mean, log_deviation = self.encode(pixels)
        return self.decode(mean + log_deviation.exp() * noise), mean, log_deviation


class _Encoder(nn.Sequential):
    """Pixels (batch, height, width) → mean and log-deviation, side by side (batch, 2·latent)."""

    def __init__(
        self,
        smallest: tuple[int, int],
        colours: int,
        latent: int,
        embedding: int,
        channels: Sequence[int],
        hidden: int,
        dropout: float,
    ) -> None:
        halving = [
            layer
            for before, after in zip((embedding, *channels), channels, strict=False)
            for layer in (nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU())
        ]
        flat = channels[-1] * smallest[0] * smallest[1]
        super().__init__(
            nn.Embedding(colours, embedding),
            _ChannelsFirst(),
            *halving,
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(flat, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * latent),
        )


class _Decoder(nn.Sequential):
    """Latents (batch, latent) → logits (batch, height, width, colours)."""

    def __init__(
        self,
        smallest: tuple[int, int],
        enlarging: Sequence[nn.Module],
        latent: int,
        channels: int,
        hidden: int,
        dropout: float,
    ) -> None:
        height, width = smallest
        super().__init__(
            nn.Linear(latent, hidden),
            nn.SiLU(),
            nn.Linear(hidden, channels * height * width),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Unflatten(1, (channels, height, width)),
            *enlarging,
            _ChannelsLast(),
        )


def _repeating(channels: Sequence[int], sizes: Sequence[tuple[int, int]], colours: int) -> list[nn.Module]:
    """Layers that enlarge to each size in turn by repeating pixels, and one that gives the colours."""
    layers: list[nn.Module] = []
    for before, after, size in zip(channels, (*channels[1:], channels[-1]), sizes, strict=True):
        layers += [Doubled(size), nn.Conv2d(before, after, 3, padding=1), nn.SiLU()]
    return [*layers, nn.Conv2d(channels[-1], colours, 1)]


def _transposing(channels: Sequence[int], sizes: Sequence[tuple[int, int]], colours: int) -> list[nn.Module]:
    """Layers that enlarge to each size in turn by transposed convolutions; the last one gives the colours."""
    layers: list[nn.Module] = []
    for before, after, size in zip(channels, (*channels[1:], colours), sizes, strict=True):
        layers += [nn.Conv2d(before, before, 3, padding=1), nn.SiLU()]
        layers += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), Cut(size), nn.SiLU()]
    return layers[:-1]


class Cut(nn.Module):
    """Cuts planes to the upper left (height, width): halving rounded odd sizes up."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.height, self.width = size

    def forward(self, planes: Tensor) -> Tensor:
        """(batch, channels, h, w) → (batch, channels, height, width)."""
        return planes[:, :, : self.height, : self.width]


class Doubled(Cut):
    """Twice the size, every pixel repeated, cut to (height, width)."""

    def forward(self, planes: Tensor) -> Tensor:
        """(batch, channels, h, w) → (batch, channels, height, width)."""
        doubled: Tensor = nn.functional.interpolate(planes, scale_factor=2.0, mode="nearest")
        return super().forward(doubled)


class _ChannelsFirst(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2)


class _ChannelsLast(nn.Module):
    def forward(self, planes: Tensor) -> Tensor:
        return planes.permute(0, 2, 3, 1)


def halved(height: int, width: int, times: int) -> list[tuple[int, int]]:
    """The size, then its halves, rounded up, so many times."""
    sizes = [(height, width)]
    for _ in range(times):
        height, width = -(-height // 2), -(-width // 2)
        sizes.append((height, width))
    return sizes


def log_likelihood(logits: Tensor, pixels: Tensor) -> Tensor:
    """log P(pixels | latent) in nats: (batch, height, width, colours), (batch, height, width) → (batch,).

    Added up in double precision: onnxruntime's order of adding depends on where an entry lies in memory, so in single
    precision the last bits of an image's score would depend on its neighbours in the batch.
    """
    chosen = logits.log_softmax(dim=-1).gather(-1, pixels[..., None])[..., 0]
    return chosen.double().sum(dim=(1, 2)).float()


def divergence(mean: Tensor, log_deviation: Tensor) -> Tensor:
    """KL(N(mean, deviation²) ‖ N(0, 1)) in nats: two (batch, latent_size) → (batch,)."""
    parts = 0.5 * ((2 * log_deviation).exp() - 1 - 2 * log_deviation + mean.square())
    return parts.double().sum(dim=1).float()


def elbo(network: VAE, pixels: Tensor, noise: Tensor) -> Tensor:
    """The evidence lower bound of log P(pixels) in nats, with one draw of the noise (batch, latent_size): (batch,)."""
    logits, mean, log_deviation = network(pixels, noise)
    return log_likelihood(logits, pixels) - divergence(mean, log_deviation)


def draw(network: VAE, latent: Tensor) -> Tensor:
    """The most likely colour of every pixel, given the latent: (batch, latent_size) → (batch, height, width) int64."""
    return torch.argmax(network.decode(latent), dim=-1)
