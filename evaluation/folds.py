"""`python -m evaluation.folds RECIPE`: trains a recipe once per fold, so that each image is tested once."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from evaluation import consoles
from smalti.errors import SmaltiError
from smalti.runtime import stopping
from training import memory
from training import recipe as recipes
from training.data import dataset as data
from training.data import sources
from training.data.sources import Indexed, Pictures
from training.data.splits import Split
from training.errors import DataRefused, RecipeRefused
from training.families.loading import make_task
from training.images import Groups, ImageSet, Pixels
from training.loop import Loop
from training.measures import baselines
from training.measures.intervals import Estimate, Values, estimate, plain
from training.progress import Display
from training.recipe import Recipe

VALID = 0.1  # share of all images used for validation in each fold
RESULT = "folds.json"


@runtime_checkable
class Likely(Protocol):
    """A task whose network can say what an image costs."""

    has_likelihood: bool  # whether `nats` is the negative log-likelihood or a bound of it

    def nats(self, pixels: Pixels) -> NDArray[np.float64]:
        """What every image costs: (images, height, width) → (images,)."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """What the test images of one fold cost under its network."""

    nats: Values  # (images,)
    mixture: Values  # the same under the best counting baseline of the same training images
    groups: Groups  # near-duplicates, numbered through all folds
    steps: int
    seconds: float


@click.command()
@click.argument("recipe")
@click.option(
    "--data", "path", type=click.Path(path_type=Path), help="As for training; the digits by default."
)
@click.option("--folds", type=click.IntRange(3), default=5, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder for checkpoints and results."
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default all cores.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
def main(recipe: str, path: Path | None, folds: int, output: Path, threads: int | None, device: str) -> None:
    """Train RECIPE once for each fold, one after the other, and pool what the test images of all folds cost.

    If it was interrupted, the same command continues. Variants of one drawing are always in the same fold.
    """
    memory.keep()
    if threads:
        torch.set_num_threads(threads)
    console = Console(highlight=False, soft_wrap=True)
    try:
        chosen = recipes.read(recipes.find(recipe, digits=path is None))
        held = run(chosen, path, folds, output, console, torch.device(device))
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error
    _show(held)
    (output / RESULT).write_text(json.dumps(figures(held), indent=2) + "\n", encoding="utf-8")
    console.print(f"wrote {output / RESULT}")


def run(
    recipe: Recipe, path: Path | None, count: int, output: Path, console: Console, device: torch.device
) -> list[Held]:
    """Train every unfinished fold, and measure all folds; raises SmaltiError."""
    found = sources.read(path, size=recipe.data.size, background=recipe.data.background)
    together = data.groups(found)
    numbers = _numbers(found, together)
    return [
        _train(
            recipe,
            data.divide(found, split, recipe.data, together),
            numbers[split.test],
            folder,
            console,
            device,
        )
        for folder, split in _places(output, divide(numbers, count))
    ]


def divide(groups: Groups, count: int, seed: int = 0) -> list[Split]:
    """Divide whole groups (images,), in random order, into folds of about equal size.

    Each fold is the test set once. About a tenth of all images, again in whole groups, is then for validation, and
    the rest for training.
    """
    if len(np.unique(groups)) < 2 * count:
        raise DataRefused(
            f"{len(np.unique(groups))} groups of different images are too few for {count} folds."
        )
    rng = np.random.default_rng(seed)
    fold = _dealt(groups, count, rng)
    return [_split(groups, fold == number, rng) for number in range(count)]


def figures(held: list[Held]) -> dict[str, Any]:
    """The figures of all folds together, and of each fold."""
    pooled = _pooled(held)
    each = [
        {"images": len(fold.nats), "steps": fold.steps, "seconds": round(fold.seconds), **_estimates(fold)}
        for fold in held
    ]
    found: dict[str, Any] = plain({"images": len(pooled.nats), **_estimates(pooled), "folds": each}, 2)
    return found


def _train(
    recipe: Recipe, images: ImageSet, groups: Groups, folder: Path, console: Console, device: torch.device
) -> Held:
    console.print(
        f"{folder}: {len(images.train)} images to train, {len(images.valid)} to validate, {len(images.test)} to test"
    )
    torch.manual_seed(recipe.seed)
    task = make_task(recipe, images, device)
    if not isinstance(task, Likely) or not task.has_likelihood:
        raise RecipeRefused(f"The family {recipe.family} has no likelihood, so folds cannot be compared.")
    loop = Loop(task, images, recipe, folder, device)
    reached = loop.resume()
    with (
        stopping.asked() as stop,
        Display(console, unit=task.unit, steps=recipe.training.steps, done=reached) as display,
    ):
        finished = loop.run(display, until=stop)
    if not finished.figures:
        console.print(
            f"stopped after step {finished.step} in {folder}: the same command continues from there"
        )
        raise click.exceptions.Exit(stopping.EXIT_CODE)
    assert finished.best is not None, "a finished training has a best step"
    torch.manual_seed(recipe.seed)  # the noise of a VAE's bound
    nats, mixture = task.nats(images.test), baselines.nats_per_image(images)[baselines.MIXTURE]
    return Held(nats, mixture, groups, finished.best.step, finished.seconds)


def _numbers(found: Pictures | Indexed, together: Groups | None) -> Groups:
    """The group of every image; without known groups, each image is one of its own."""
    count = len(found.rgb) if isinstance(found, Pictures) else len(found.pixels)
    return np.arange(count) if together is None else together


def _dealt(groups: Groups, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of every image: the largest groups first, each into the fold with the fewest images so far."""
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    fold, filled = np.zeros(len(sizes), dtype=np.int64), np.zeros(count, dtype=np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    return fold[groups]


def _split(groups: Groups, test: NDArray[np.bool_], rng: np.random.Generator) -> Split:
    room, valid = round(VALID * len(groups)), np.zeros(len(groups), dtype=np.bool_)
    for group in rng.permutation(np.unique(groups[~test])):
        members = groups == group
        if members.sum() <= room:
            valid |= members
            room -= int(members.sum())
    return Split(np.flatnonzero(~test & ~valid), np.flatnonzero(valid), np.flatnonzero(test))


def _places(output: Path, splits: list[Split]) -> list[tuple[Path, Split]]:
    """A folder for each fold; raises RecipeRefused if the output folder belongs to another division."""
    note, text = output / "division.json", json.dumps([split.test.tolist() for split in splits])
    if note.exists() and note.read_text(encoding="utf-8") != text:
        raise RecipeRefused(f"{output} holds the folds of another division: give another --output.")
    output.mkdir(parents=True, exist_ok=True)
    note.write_text(text, encoding="utf-8")
    return [(output / f"fold-{number}", split) for number, split in enumerate(splits)]


def _pooled(held: list[Held]) -> Held:
    return Held(
        nats=np.concatenate([fold.nats for fold in held]),
        mixture=np.concatenate([fold.mixture for fold in held]),
        groups=np.concatenate([fold.groups for fold in held]),
        steps=0,
        seconds=sum(fold.seconds for fold in held),
    )


def _estimates(fold: Held) -> dict[str, Any]:
    difference = estimate(fold.nats - fold.mixture, fold.groups)
    return {
        "nats_per_image": estimate(fold.nats, fold.groups),
        "mixture_with_cache": estimate(fold.mixture, fold.groups),
        "difference": difference,
        "verdict": difference.verdict,
    }


def _show(held: list[Held]) -> None:
    table = Table("fold", "images", "best step", "nats/image", "counting mixture", "difference", box=None)
    for number, fold in enumerate(held):
        table.add_row(str(number), str(len(fold.nats)), str(fold.steps), *_cells(fold))
    pooled = _pooled(held)
    table.add_row("all", str(len(pooled.nats)), "", *_cells(pooled))
    consoles.for_tables().print(table)


def _cells(fold: Held) -> list[str]:
    found = _estimates(fold)
    return [_say(found[name]) for name in ("nats_per_image", "mixture_with_cache", "difference")]


def _say(found: Estimate) -> str:
    return f"{found.mean:.1f} [{found.low:.1f}, {found.high:.1f}]"


if __name__ == "__main__":
    sys.exit(main())
