"""Exports a VAE by `encode`, `decode` and `score`, an auto-encoder by the first two; they share their weights."""

from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn

from export import graphs
from export.comparison import PARITY_IMAGES, Comparison, latents
from export.graphs import Session
from export.writing import Exported
from models import vae
from models.vae import VAE
from smalti.runtime.manifest import Parity
from training.checkpoint import Checkpoint, fill
from training.families.vae import PLAIN, make_network

BATCH = 2  # of the examples: any but 1


class Encode(nn.Module):
    """pixels → mean, log_deviation."""

    def __init__(self, network: VAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, height, width) int64 → two of (batch, latent_size)."""
        return self.network.encode(pixels)


class EncodeMean(Encode):
    """pixels → mean: all that an auto-encoder knows of a latent."""

    def forward(self, pixels: Tensor) -> Tensor:  # type: ignore[override]  # one output less is another graph
        """(batch, height, width) int64 → (batch, latent_size)."""
        return self.network.encode(pixels)[0]


class Decode(nn.Module):
    """latent → the most likely pixels, and the logits they are the largest of."""

    def __init__(self, network: VAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, latent_size) → (batch, height, width) int64, (batch, height, width, colours)."""
        logits = self.network.decode(latent)
        return logits.argmax(dim=-1), logits


class Score(nn.Module):
    """pixels, noise → elbo in nats."""

    def __init__(self, network: VAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor, noise: Tensor) -> Tensor:
        """(batch, height, width) int64, (batch, latent_size) → (batch,)."""
        return vae.elbo(self.network, pixels, noise)


def write_graphs(checkpoint: Checkpoint, folder: Path) -> Exported:
    """Write the graphs and their weights; raises ExportRefused where they differ from torch."""
    network = restore(checkpoint)
    plain = checkpoint.recipe.variant == PLAIN
    traced = {"encode": encode_graph(network, plain=plain), "decode": decode_graph(network)}
    if not plain:
        traced["score"] = score_graph(network)
    written = graphs.save(traced, folder)
    parity = check(network, {name: Session(folder / graph.file) for name, graph in written.items()})
    return Exported(graphs=written, parity=parity, latent_size=network.latent_size)


def restore(checkpoint: Checkpoint) -> VAE:
    """The checkpoint's best network, in evaluation mode."""
    assert checkpoint.best is not None, "the frame refuses unfinished trainings"
    network = make_network(
        checkpoint.recipe, height=checkpoint.height, width=checkpoint.width, colours=len(checkpoint.palette)
    )
    fill(network, checkpoint.best.weights)
    return network.eval()


def encode_graph(network: VAE, *, plain: bool) -> ModelProto:
    """The way in."""
    outputs = ["mean"] if plain else ["mean", "log_deviation"]
    wrapped = EncodeMean(network) if plain else Encode(network)
    return graphs.trace(wrapped, [_pixels(network)], inputs=["pixels"], outputs=outputs)


def decode_graph(network: VAE) -> ModelProto:
    """The way out."""
    latent = torch.zeros(BATCH, network.latent_size)
    return graphs.trace(Decode(network), [latent], inputs=["latent"], outputs=["pixels", "logits"])


def score_graph(network: VAE) -> ModelProto:
    """There and back, and what it costs."""
    noise = torch.zeros(BATCH, network.latent_size)
    return graphs.trace(
        Score(network), [_pixels(network), noise], inputs=["pixels", "noise"], outputs=["elbo"]
    )


@torch.no_grad()
def check(network: VAE, sessions: dict[str, Session]) -> Parity:
    """Compare the graphs with the network; raises ExportRefused unless they agree.

    Images drawn from normal latents go through every graph. The ELBO adds up the rounding of all pixels, so it is
    compared per pixel.
    """
    latent = latents(PARITY_IMAGES, network.latent_size)
    logits = network.decode(torch.from_numpy(latent))
    comparison = Comparison()
    decoded = sessions["decode"].run({"latent": latent})
    comparison.add(decoded["logits"], logits)
    comparison.add_pixels(decoded["pixels"], logits.argmax(dim=-1))
    pixels = logits.argmax(dim=-1)
    for name, expected in zip(("mean", "log_deviation"), network.encode(pixels), strict=True):
        encoded = sessions["encode"].run({"pixels": pixels.numpy()})
        if name in encoded:
            comparison.add(encoded[name], expected)
    if "score" in sessions:
        found = sessions["score"].run({"pixels": pixels.numpy(), "noise": latent})["elbo"]
        per_pixel = network.height * network.width
        expected = vae.elbo(network, pixels, torch.from_numpy(latent))
        comparison.add(found / np.float32(per_pixel), expected / per_pixel)
    return comparison.verdict(PARITY_IMAGES)


def _pixels(network: VAE) -> Tensor:
    return torch.zeros(BATCH, network.height, network.width, dtype=torch.int64)
