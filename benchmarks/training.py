"""What a step of training costs, with the recipe `pixel-rnn-mnist`: `python -m benchmarks.training`.

Products are in float32 and in bfloat16; the two take turns. Times are processor times, so that a busy machine matters
little. The images are random, in the size of MNIST: the cost of a step does not depend on their content.
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import process_time

import click
import numpy as np
import torch
from torch import Tensor

from benchmarks import machine
from benchmarks.command import Benchmark
from smalti.runtime.manifest import Data
from training import memory, recipe
from training.families.loading import make_task
from training.families.task import Task
from training.images import ImageSet
from training.recipe import Recipe

RECIPE, SIDE = "pixel-rnn-mnist", 28
PRODUCTS = ("float32", "bfloat16")


@click.command(cls=Benchmark)
@click.option("--steps", type=click.IntRange(2), default=12, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(steps: int, threads: int, file: Path | None) -> None:
    """Measure the seconds of a training step."""
    memory.keep()
    torch.set_num_threads(threads)
    chosen = recipe.read(recipe.find(RECIPE, digits=False))
    click.echo(f"{RECIPE}: steps of {chosen.training.batch} images, {threads} threads\n{machine.headline()}")
    found = _seconds(
        {kind: _task(chosen, kind) for kind in PRODUCTS}, _random_images(chosen.training.batch), steps
    )
    for kind, seconds in found.items():
        click.echo(f"products in {kind:<9} {seconds:.3f} s a step")
    machine.write(file, {"recipe": RECIPE, "threads": threads, "seconds_a_step": found})


def _seconds(tasks: Mapping[str, Task], images: Tensor, steps: int) -> dict[str, float]:
    """The median for each; the first step is slower and does not count."""
    spent: dict[str, list[float]] = {kind: [] for kind in tasks}
    for _ in range(steps + 1):
        for kind, task in tasks.items():
            started = process_time()
            task.step(images, 0.5)
            spent[kind].append(process_time() - started)
    return {kind: median(times[1:]) for kind, times in spent.items()}


def _task(chosen: Recipe, products: str) -> Task:
    torch.manual_seed(0)
    changed = chosen.model_copy(update={"optimiser": chosen.optimiser | {"products": products}})
    about = Data(name="random", source="drawn", licence="CC0-1.0", digest="0" * 64, images=3)
    pixels = _random_images(3).numpy()
    images = ImageSet(about, ("#ffffff", "#000000"), pixels[:1], pixels[1:2], pixels[2:])
    return make_task(changed, images, torch.device("cpu"))


def _random_images(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 2, (count, SIDE, SIDE)))


if __name__ == "__main__":
    main()
