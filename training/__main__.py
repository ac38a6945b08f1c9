"""`python -m training RECIPE`: trains a network on images, and measures it on images held back."""

import shutil
import sys
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from smalti.errors import SmaltiError
from training import checkpoint as checkpoints
from training import memory
from training import recipe as recipes
from training.checkpoint import Checkpoint
from training.data import ImageSet, load
from training.families import make_task
from training.loop import Loop
from training.progress import Display
from training.recipe import Recipe


@click.command()
@click.argument("recipe")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder or .zip of images, lecture's text or .npz; without it, digits.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for checkpoint and pictures; by default runs/<model>.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default all cores.")
@click.option("--fresh", is_flag=True, help="Begin anew, even if the output folder holds a checkpoint.")
def main(
    recipe: str, data: Path | None, output: Path | None, device: str, threads: int | None, fresh: bool
) -> None:
    """Train by RECIPE: a .toml file, or the name of a recipe that comes with smalti (pixel-rnn, vae, …).

    Goes on from its checkpoint if it was interrupted. The last line printed is the figure on the test images.
    """
    memory.keep()
    if threads:
        torch.set_num_threads(threads)
    try:
        train(recipe, data, output, _device(device), fresh=fresh)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error


def train(
    name: str, data: Path | None, output: Path | None, device: torch.device, *, fresh: bool
) -> Checkpoint:
    """Train, or go on with it, to the end."""
    console = Console(highlight=False, soft_wrap=True)
    recipe = recipes.read(recipes.find(name, digits=data is None))
    images = load(data, recipe.data)
    folder = output or Path("runs") / f"{images.about.name}-{recipe.suffix}"
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(_introduction(images, recipe, folder))
    torch.manual_seed(recipe.seed)
    task = make_task(recipe, images, device)
    loop = Loop(task, images, recipe, folder, device)
    reached = loop.resume()
    if reached:
        console.print(f"goes on from step {reached}")
    with Display(console, unit=task.unit, steps=recipe.training.steps, done=reached) as display:
        finished = loop.run(display)
    _print_figures(console, finished, folder)
    console.print(f"test: {task.headline(finished.figures)}")
    return finished


def _introduction(images: ImageSet, recipe: Recipe, folder: Path) -> str:
    return (
        f"{images.about.name}-{recipe.suffix}: {len(images.train)} images to train, {len(images.valid)} to validate, "
        f"{len(images.test)} to test; {images.height}×{images.width}, {images.colours} colours; in {folder}"
    )


def _print_figures(console: Console, finished: Checkpoint, folder: Path) -> None:
    for name, value in _flat(finished.figures):
        console.print(f"  {name}: {value}")
    console.print(f"trained in {finished.seconds:.0f} s; checkpoint: {folder / checkpoints.FILE}")


def _flat(figures: dict[str, Any]) -> list[tuple[str, Any]]:
    """Figures with those of inner tables behind a dot."""
    lines: list[tuple[str, Any]] = []
    for name, value in figures.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        lines += [(f"{name}.{key}" if key else name, entry) for key, entry in inner]
    return lines


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise click.ClickException("torch finds no GPU on this machine: train with --device cpu.")
    return torch.device(name)


if __name__ == "__main__":
    sys.exit(main())
