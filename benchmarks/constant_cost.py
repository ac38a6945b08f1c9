"""What a pixel costs the diagonal PixelRNN, early and late in an image: `python -m benchmarks.constant_cost`.

It is compared with the usual practice, which keeps no state and computes the whole image again for every pixel. Both
are graphs of one network in onnxruntime: `draw_row`, and `score`, which reads a whole image once. They take turns, and
times are processor times, so that a busy machine matters little. The network is not trained: its cost does not depend
on its weights.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from benchmarks import machine
from benchmarks.command import Benchmark
from evaluation.drawing import row_inputs
from export import graphs
from export.pixel_rnn import make_graphs
from models.diagonal import DiagonalPixelRNN
from smalti.runtime.session import open_session
from training import recipe as recipes
from training.families.pixel_rnn import VARIANTS, make_network

EARLY = 2  # the row that the last row is compared with; nearly all of its neighbours lie within the image


@click.command(cls=Benchmark)
@click.argument("recipe", default="pixel-rnn-mnist")
@click.option("--size", type=click.IntRange(4), default=28, help="Rows and columns.")
@click.option("--colours", type=click.IntRange(2), default=2)
@click.option("--batch", type=click.IntRange(2), default=32)
@click.option(
    "--images", type=click.IntRange(3), default=15, help="How often to draw one image, and a batch."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(recipe: str, size: int, colours: int, batch: int, images: int, file: Path | None) -> None:
    """Measure the network of RECIPE, a recipe of a diagonal PixelRNN."""
    torch.manual_seed(0)
    network = _network(recipe, size, colours)
    with tempfile.TemporaryDirectory() as folder:
        graphs.save(make_graphs(network.eval()), Path(folder))
        costs = {count: Costs(network, Path(folder), count) for count in (1, batch)}
        for _ in range(images):
            for cost in costs.values():
                cost.take()
    figures = {str(count): cost.figures() for count, cost in costs.items()}
    click.echo(machine.headline())
    for line in _lines(figures, size, batch):
        click.echo(line)
    machine.write(file, {"recipe": recipe, "size": size, "images": images, "batches": figures})


def _network(recipe: str, size: int, colours: int) -> DiagonalPixelRNN:
    chosen = recipes.read(recipes.find(recipe, digits=False))
    if chosen.variant in VARIANTS:
        network = make_network(chosen, height=size, width=size, colours=colours)
        if isinstance(network, DiagonalPixelRNN):
            return network
    raise click.ClickException(
        f"The recipe {recipe} is not one of a diagonal PixelRNN: take pixel-rnn-mnist or pixel-rnn."
    )


class Costs:
    """Processor seconds of both ways to draw a batch, measured in turns."""

    def __init__(self, network: DiagonalPixelRNN, folder: Path, count: int) -> None:
        self.height, self.width, self.count = network.height, network.width, count
        self.draw_row, self.score = (open_session(folder / f"{name}.onnx") for name in ("draw_row", "score"))
        drawer = network.drawer()
        self.fresh = {
            name: value.numpy() for name, value in zip(drawer.states, drawer.fresh(count), strict=True)
        }
        self.numbers = (1.0 - np.random.default_rng(0).random((self.height, count, self.width))).astype(
            np.float32
        )
        self.rows: list[list[float]] = []  # for every image, the seconds of each row
        self.readings: list[float] = []  # seconds to read a whole image once
        self.take()  # the first run allocates memory; it does not count
        self.rows, self.readings = [], []

    def take(self) -> None:
        """Draw a batch of images once, and read it once."""
        seconds, pixels = self._draw()
        self.rows.append(seconds)
        self.readings.append(_timed(self.score, {"pixels": pixels})[0])

    def figures(self) -> dict[str, float]:
        """Medians: milliseconds per pixel, seconds per image."""
        early, late = (
            1e3 * median(rows[row] for rows in self.rows) / self.width for row in (EARLY, self.height - 1)
        )
        kept = median(sum(rows) for rows in self.rows) / self.count
        again = median(self.readings) * self.height * self.width / self.count
        return {
            "early_milliseconds_per_pixel": early,
            "late_milliseconds_per_pixel": late,
            "image_seconds": kept,
            "image_seconds_drawn_again_for_every_pixel": again,
        }

    def _draw(self) -> tuple[list[float], NDArray[np.int64]]:
        state, seconds, pixels = self.fresh, [], []
        for row in range(self.height):
            spent, found = _timed(self.draw_row, row_inputs(row, self.numbers[row]) | state)
            state = {name: found[f"{name}_out"] for name in state}
            seconds.append(spent)
            pixels.append(found["pixels"])
        return seconds, np.stack(pixels, axis=1)


def _timed(
    session: InferenceSession, feeds: dict[str, NDArray[Any]]
) -> tuple[float, dict[str, NDArray[Any]]]:
    names = [output.name for output in session.get_outputs()]
    started = process_time()
    found = session.run(names, feeds)
    return process_time() - started, dict(zip(names, found, strict=True))


def _lines(figures: Mapping[str, Mapping[str, float]], size: int, batch: int) -> list[str]:
    lines = [line for count, found in figures.items() for line in _lines_of(count, found, size)]
    alone = figures["1"]["image_seconds_drawn_again_for_every_pixel"]
    factor = alone / figures[str(batch)]["image_seconds"]
    return [
        *lines,
        f"an image in a batch of {batch} beside one drawn again for every pixel, alone: {factor:.0f}×",
    ]


def _lines_of(count: str, found: Mapping[str, float], size: int) -> list[str]:
    early, late = found["early_milliseconds_per_pixel"], found["late_milliseconds_per_pixel"]
    kept, again = found["image_seconds"], found["image_seconds_drawn_again_for_every_pixel"]
    pixel = f"a pixel {early:.3f} ms in row {EARLY}, {late:.3f} ms in row {size - 1} ({late / early:.2f}×)"
    image = f"an image {1e3 * kept:.1f} ms, drawn again for every pixel {again:.2f} s ({again / kept:.0f}×)"
    return [f"batch of {count}: {pixel}", f"batch of {count}: {image}"]


if __name__ == "__main__":
    main()
