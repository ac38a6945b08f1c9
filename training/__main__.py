"""`python -m training RECIPE`: trains a network on images, then measures it on test images."""

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
from training.families.loading import make_task
from training.loop import Loop
from training.progress import Display
from training.recipe import Recipe


class Commands(click.Group):
    """The commands. `train` may be left out: if the first word is not a command, it is the recipe to train."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `train` in front if no command is named."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else ["train", *args])


@click.group(cls=Commands)
def main() -> None:
    """Train a network on images."""


@main.command("recipes")
@click.argument("name", required=False)
def show_recipes(name: str | None) -> None:
    """List the recipes that come with smalti, or print the recipe NAME, which you can save, edit and train."""
    try:
        click.echo(catalogue.printed(name) if name else "\n".join(catalogue.lines()), nl=not name)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error


@main.command("train")
@click.argument("recipe")
@click.option(
    "--data",
    type=arguments.Place(),
    help="Folder or .zip of pictures, the lecture's text, or .npz; the digits by default.",
)
@click.option(
    "--output",
    type=arguments.Place(),
    help="Folder for checkpoint and pictures; by default runs/<model>.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default all cores.")
@click.option("--fresh", is_flag=True, help="Start again, even if the output folder has a checkpoint.")
@click.option("--steps", type=int, help="How many steps to train; each takes one batch of images.")
@click.option("--size", type=int, help="Height and width of the images in pixels.")
@click.option("--colours", type=int, help="The most colours that the palette may have.")
@click.option("--background", help="The colour behind transparent pixels, e.g. #ffffff.")
@click.option("--name", help="The model's name; by default made of the data's and the recipe's.")
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
    """Train RECIPE: a .toml file, or the name of a recipe that comes with smalti (pixel-rnn, vae, …).

    An interrupted training continues from its checkpoint. The last line printed is the figure on the test images.
    Transparent borders of pictures are cut off. A picture is reduced to fit, but never enlarged, and is placed at the
    bottom in the middle. (The option --fit of smalti's commands differs: it keeps borders, enlarges, and centres.)
    `python -m training recipes` lists the recipes; `python -m training recipes NAME` prints one, which you can edit.
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
        original = recipes.read(recipes.find(recipe, digits=data is None))
        asked = settings.read(original, given, written)
        chosen = settings.apply(original, asked)
        with memory.enough():
            train(
                chosen,
                data,
                output,
                _device(device),
                fresh=fresh,
                asked=asked,
                dropped=settings.dropped(original, chosen),
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
    """Train to the end, from the checkpoint if there is one.

    `asked` are the settings given on the command line, `dropped` the generations that an earlier end leaves out.
    """
    console = Console(highlight=False, soft_wrap=True)
    images = load(data, recipe.data)
    introduction.refuse_unused(images, asked)
    folder = output or Path("runs") / recipe.named(images.about.name)
    checkpoints.prepare(folder, fresh=fresh)
    console.print(introduction.paragraph(images, recipe, folder, dropped=dropped), markup=False)
    torch.manual_seed(recipe.seed)
    task = make_task(recipe, images, device)
    loop = Loop(task, images, recipe, folder, device)
    reached = loop.resume()
    if reached:
        console.print(f"continues from step {reached}")
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
        return "stopped before its first step: the same command starts again"
    return (
        f"stopped after step {step} of {recipe.training.steps}; all of it is in the checkpoint in {folder}: "
        "the same command continues from there"
    )


def _print_figures(console: Console, finished: Checkpoint, folder: Path) -> None:
    for name, value in _flat(finished.figures):
        console.print(f"  {name}: {value}")
    console.print(f"trained in {finished.seconds:.0f} s; checkpoint: {folder / checkpoints.FILE}")


def _flat(figures: dict[str, Any]) -> list[tuple[str, Any]]:
    """Names and figures; a figure in an inner table is named `table.figure`."""
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
