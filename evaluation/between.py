"""`python -m evaluation.between VAE AUTOENCODER`: shows what two models decode between and far from images."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from evaluation.contrast import PLACES, Contrast, Likeness, measure
from evaluation.graphs import Graphs
from evaluation.images import load
from smalti.errors import SmaltiError
from smalti.runtime.repository import ModelRepository
from training import arguments


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option(
    "--data",
    "path",
    type=click.Path(path_type=Path),
    help="What they were trained on; the digits by default.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Write the picture here, as PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--count", type=click.IntRange(20), default=2000, show_default=True, help="Latents of each kind."
)
@click.option(
    "--steps", type=click.IntRange(2), default=11, show_default=True, help="Images along one side of a grid."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")
@arguments.repository
def main(
    models: tuple[str, ...],
    path: Path | None,
    output: Path | None,
    as_json: bool,
    count: int,
    steps: int,
    seed: int,
    threads: int,
    root: Path,
) -> None:
    """Decode the same places in the latent space of each of MODELS: a VAE and an auto-encoder of the same images.

    The kernel distance to the test images says how far the decoded images are from real ones as a whole. The density
    says how often a decoded image lies near training images.
    """
    try:
        opened = [Graphs(ModelRepository(root).load(model), threads=threads) for model in models]
        images = load(opened[0].manifest, path)
        contrast = measure(opened, images, seed=seed, count=count, steps=steps, drawn=steps * steps)
        _tell(contrast, as_json=as_json)
        if output:
            _save(contrast, output)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error


def _tell(contrast: Contrast, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(contrast.figures(), indent=2))
    else:
        Console(highlight=False).print(_table(contrast))


def _table(contrast: Contrast) -> Table:
    table = Table(title="Kernel distance to test images in thousandths, and density among training images")
    table.add_column("decoded from")
    for model in contrast.models:
        table.add_column(f"{model.manifest.name}\ndistance", justify="right")
        table.add_column("\ndensity", justify="right")
    for name, words in PLACES.items():
        table.add_row(words, *_cells([model.likeness[name] for model in contrast.models]))
    table.add_section()
    table.add_row("real images, for comparison", *_cells([contrast.floor] * len(contrast.models)))
    return table


def _cells(found: Sequence[Likeness]) -> list[str]:
    return [cell for each in found for cell in (f"{each.distance:.1f}", f"{each.density:.2f}")]


def _save(contrast: Contrast, output: Path) -> None:
    from evaluation import contrast_picture  # matplotlib is slow to import

    contrast_picture.save(contrast, output)
    click.echo(f"wrote {output}", err=True)


if __name__ == "__main__":
    sys.exit(main())
