"""Exports a GAN: `generate` draws images in the palette, `discriminate` gives the probability that they are real."""

from pathlib import Path

import torch
from onnx import ModelProto
from torch import Tensor, nn

from export import graphs
from export.graphs import Session
from export.parity import PARITY_IMAGES, PARITY_SEED, Comparison, latents
from export.registry import Exported
from models import gan
from models.gan import Discriminator, Generator
from smalti.runtime.manifest import Parity
from training.checkpoint import Checkpoint, fill
from training.families.gan import make_networks, palette_colours


class Generate(nn.Module):
    """latent → pixels."""

    palette: Tensor

    def __init__(self, generator: Generator, palette: Tensor) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("palette", palette)

    def forward(self, latent: Tensor) -> Tensor:
        """(batch, latent_size) → (batch, height, width) int64."""
        return gan.snap(self.palette, self.generator(latent))


class Discriminate(nn.Module):
    """pixels → probability of being real."""

    palette: Tensor

    def __init__(self, discriminator: Discriminator, palette: Tensor) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.register_buffer("palette", palette)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, height, width) int64 → (batch,)."""
        return self.discriminator.probability(gan.colours_of(self.palette, pixels))


def write_graphs(checkpoint: Checkpoint, folder: Path) -> Exported:
    """Write the graphs and their weights; raises ExportRefused if they differ from torch."""
    generator, discriminator = restore(checkpoint)
    palette = palette_colours(checkpoint.palette)
    generate, discriminate = Generate(generator, palette), Discriminate(discriminator, palette)
    written = graphs.save(
        {
            "generate": generate_graph(generate),
            "discriminate": discriminate_graph(
                discriminate, height=checkpoint.height, width=checkpoint.width
            ),
        },
        folder,
    )
    parity = check(
        generate, discriminate, {name: Session(folder / graph.file) for name, graph in written.items()}
    )
    return Exported(graphs=written, parity=parity, latent_size=generator.latent_size)


def restore(checkpoint: Checkpoint) -> tuple[Generator, Discriminator]:
    """The checkpoint's best networks in evaluation mode; the discriminator's weights are stored normalised."""
    assert checkpoint.best is not None, "unfinished trainings are refused before"
    generator, discriminator = make_networks(
        checkpoint.recipe, height=checkpoint.height, width=checkpoint.width
    )
    fill(generator, checkpoint.best.weights.get("generator", {}))
    fill(discriminator, checkpoint.best.weights.get("discriminator", {}))
    discriminator.eval().unbind()
    return generator.eval(), discriminator.eval()


def generate_graph(generate: Generate) -> ModelProto:
    """The graph that draws: latent → pixels."""
    latent = torch.zeros(graphs.EXAMPLE_BATCH, generate.generator.latent_size)
    return graphs.trace(generate, [latent], inputs=["latent"], outputs=["pixels"])


def discriminate_graph(discriminate: Discriminate, *, height: int, width: int) -> ModelProto:
    """The graph that judges: pixels → probability."""
    pixels = torch.zeros(graphs.EXAMPLE_BATCH, height, width, dtype=torch.int64)
    return graphs.trace(discriminate, [pixels], inputs=["pixels"], outputs=["probability"])


@torch.no_grad()
def check(generate: Generate, discriminate: Discriminate, sessions: dict[str, Session]) -> Parity:
    """Compare the graphs with the networks; raises ExportRefused if they do not agree.

    The same latents must give the same pixels; drawn images and random pixels must get the same probabilities.
    """
    latent = latents(PARITY_IMAGES, generate.generator.latent_size)
    drawn = generate(torch.from_numpy(latent))
    chance = torch.Generator().manual_seed(PARITY_SEED)
    random = torch.randint(len(generate.palette), drawn.shape, generator=chance)
    comparison = Comparison()
    comparison.add_pixels(sessions["generate"].run({"latent": latent})["pixels"], drawn)
    for pixels in (drawn, random):
        found = sessions["discriminate"].run({"pixels": pixels.numpy()})
        comparison.add(found["probability"], discriminate(pixels))
    return comparison.verdict(PARITY_IMAGES)
