"""`python -m training RECIPE`: trains a network on images, and measures it on images held back."""

import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from smalti.errors import SmaltiError
from smalti.runtime import stopping
from training import arguments, catalogue, introduction, memory, settings
from training import checkpoint as checkpoints
from training import recipe as recipes
from training.checkpoint import Checkpoint
from training.data.dataset import load
from training.families.registry import make_task
from training.loop import Loop
from training.progress import Display
from training.recipe import Recipe


class Commands(click.Group):
    """`train` needs not be written: whatever is no command is a recipe to train by."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `train` in front where no command is named."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else ["train", *args])


@click.group(cls=Commands)
def main() -> None:
    """Train a network on images."""


@main.command("recipes")
@click.argument("name", required=False)
def show_recipes(name: str | None) -> None:
    """List the recipes that come with smalti, or print the one called NAME: save it, edit it, and train by it."""
    try:
        click.echo(catalogue.printed(name) if name else "\n".join(catalogue.lines()), nl=not name)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error


@main.command("train")
@click.argument("recipe")
@click.option(
    "--data",
    type=arguments.Place(),
    help="Folder or .zip of images, lecture's text or .npz; without it, digits.",
)
@click.option(
    "--output",
    type=arguments.Place(),
    help="Folder for checkpoint and pictures; by default runs/<model>.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default all cores.")
@click.option("--fresh", is_flag=True, help="Begin anew, even if the output folder holds a checkpoint.")
@click.option("--steps", type=int, help="How long to train; each step takes one batch of images.")
@click.option("--size", type=int, help="Height and width of the images in pixels.")
@click.option("--colours", type=int, help="Colours of the palette, at most.")
@click.option("--background", help="The colour behind transparent pixels, e.g. #ffffff.")
@click.option("--name", help="The model's whole name; by default the data's and the recipe's.")
@click.option(
    "--set", "written", multiple=True, metavar="KEY=VALUE", help="Any setting, e.g. network.hidden=64."
)
def train_command(
    recipe: str,
    data: Path | None,
    output: Path | None,
    device: str,
    threads: int | None,
    fresh: bool,
    steps: int | None,
    size: int | None,
    colours: int | None,
    background: str | None,
    name: str | None,
    written: tuple[str, ...],
) -> None:
    """Train by RECIPE: a .toml file, or the name of a recipe that comes with smalti (pixel-rnn, vae, …).

    Goes on from its checkpoint if it was interrupted. The last line printed is the figure on the test images.
    Pictures lose their transparent borders, are made smaller to fit but never larger, and stand on the bottom edge, in
    the middle. (The --fit of smalti's commands is another way: it keeps borders, enlarges, and centres.)
    `python -m training recipes` lists the recipes, `python -m training recipes NAME` prints one to be edited.
    """
    given = {
        "training.steps": steps,
        "data.size": size,
        "data.colours": colours,
        "data.background": background,
        "name": name,
    }
    memory.keep()
    if threads:
        torch.set_num_threads(threads)
    try:
        told = recipes.read(recipes.find(recipe, digits=data is None))
        asked = settings.read(told, given, written)
        chosen = settings.apply(told, asked)
        with memory.enough():
            train(
                chosen,
                data,
                output,
                _device(device),
                fresh=fresh,
                asked=asked,
                dropped=settings.dropped(told, chosen),
            )
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error


def train(
    recipe: Recipe,
    data: Path | None,
    output: Path | None,
    device: torch.device,
    *,
    fresh: bool,
    asked: Collection[str] = (),
    dropped: Sequence[int] = (),
) -> Checkpoint:
    """Train, or go on with it, to the end.

    `asked` are settings that the command line names, `dropped` generations that a nearer end left out.
    """
    console = Console(highlight=False, soft_wrap=True)
    images = load(data, recipe.data)
    introduction.refuse_unheeded(images, asked)
    folder = output or Path("runs") / recipe.named(images.about.name)
    checkpoints.prepare(folder, fresh=fresh)
    console.print(introduction.paragraph(images, recipe, folder, dropped=dropped), markup=False)
    torch.manual_seed(recipe.seed)
    task = make_task(recipe, images, device)
    loop = Loop(task, images, recipe, folder, device)
    reached = loop.resume()
    if reached:
        console.print(f"goes on from step {reached}")
    with (
        stopping.asked() as stop,
        Display(console, unit=task.unit, steps=recipe.training.steps, done=reached) as display,
    ):
        finished = loop.run(display, until=stop)
    if not finished.figures:
        console.print(_where_it_stopped(finished.step, recipe, folder))
        raise click.exceptions.Exit(stopping.EXIT_CODE)
    _print_figures(console, finished, folder)
    console.print(f"test: {task.headline(finished.figures)}")
    return finished


def _where_it_stopped(step: int, recipe: Recipe, folder: Path) -> str:
    if step == 0:
        return "stopped before its first step: the same command begins anew"
    return (
        f"stopped after step {step} of {recipe.training.steps}; the checkpoint in {folder} has it all: "
        "the same command goes on from there"
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
