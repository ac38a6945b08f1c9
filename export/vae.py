"""Exports a VAE as `encode`, `decode` and `score`, an auto-encoder as the first two; all share their weights."""

from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor, nn

from export import graphs
from export.graphs import Session
from export.parity import PARITY_IMAGES, Comparison, latents
from export.registry import Exported
from models import vae
from models.vae import VAE
from smalti.runtime.manifest import Parity
from training.checkpoint import Checkpoint, fill
from training.families.vae import PLAIN, make_network


class Encode(nn.Module):
    """pixels → mean, log_deviation."""

    def __init__(self, network: VAE) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, height, width) int64 → two of (batch, latent_size)."""
        return self.network.encode(pixels)


class EncodeMean(Encode):
    """pixels → mean: an auto-encoder has no deviation."""

    def forward(self, pixels: Tensor) -> Tensor:  # type: ignore[override]  # one output less is another graph
        """(batch, height, width) int64 → (batch, latent_size)."""
        return self.network.encode(pixels)[0]


class Decode(nn.Module):
    """latent → the most likely pixels, and their logits."""

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
    """Write the graphs and their weights; raises ExportRefused if they differ from torch."""
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
    assert checkpoint.best is not None, "unfinished trainings are refused before"
    network = make_network(
        checkpoint.recipe, height=checkpoint.height, width=checkpoint.width, colours=len(checkpoint.palette)
    )
    fill(network, checkpoint.best.weights)
    return network.eval()


def encode_graph(network: VAE, *, plain: bool) -> ModelProto:
    """The graph `encode`: pixels → mean and log_deviation, or the mean alone if `plain`."""
    outputs = ["mean"] if plain else ["mean", "log_deviation"]
    wrapped = EncodeMean(network) if plain else Encode(network)
    return graphs.trace(wrapped, [_pixels(network)], inputs=["pixels"], outputs=outputs)


def decode_graph(network: VAE) -> ModelProto:
    """The graph `decode`: latent → pixels and logits."""
    latent = torch.zeros(graphs.EXAMPLE_BATCH, network.latent_size)
    return graphs.trace(Decode(network), [latent], inputs=["latent"], outputs=["pixels", "logits"])


def score_graph(network: VAE) -> ModelProto:
    """The graph `score`: pixels and noise → ELBO."""
    noise = torch.zeros(graphs.EXAMPLE_BATCH, network.latent_size)
    return graphs.trace(
        Score(network), [_pixels(network), noise], inputs=["pixels", "noise"], outputs=["elbo"]
    )


@torch.no_grad()
def check(network: VAE, sessions: dict[str, Session]) -> Parity:
    """Compare the graphs with the network; raises ExportRefused if they do not agree.

    Images drawn from normal latents go through every graph. The ELBO sums the rounding errors of all pixels, so it is
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
    return torch.zeros(graphs.EXAMPLE_BATCH, network.height, network.width, dtype=torch.int64)
