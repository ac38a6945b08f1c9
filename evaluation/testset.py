"""`python -m evaluation.testset MODEL`: writes a model's test images as PNG files, to try the model on."""

import sys
from pathlib import Path

import click
import numpy as np
from PIL import Image

from evaluation.images import load
from smalti import palette as colours
from smalti.errors import SmaltiError
from smalti.runtime.repository import ModelRepository
from training import arguments
from training.errors import DataRefused
from training.images import ImageSet


@click.command()
@click.argument("model")
@arguments.data
@click.option("--output", required=True, type=arguments.Place(), help="Folder for the PNGs.")
@click.option("--count", type=click.IntRange(1), help="How many, evenly spread over all; all by default.")
@arguments.version
@arguments.repository
def main(
    model: str, path: Path | None, output: Path, count: int | None, version: int | None, root: Path
) -> None:
    """Write the test images of MODEL's data as PNG files, in its size and palette, each named by its number."""
    try:
        manifest = ModelRepository(root).load(model, version).manifest
        images = load(manifest, path)
        if images.about.digest != manifest.data.digest:
            raise DataRefused(
                f"{path or 'The digits'} are not the data that {model} was trained on ({manifest.data.name}), "
                "so it may have seen any of them."
            )
        written = write(images, output, count=count)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{len(written)} of {len(images.test)} test images to {output}/")


def write(images: ImageSet, folder: Path, *, count: int | None = None) -> list[Path]:
    """Write test images into a folder; returns the files. Raises DataRefused if there are fewer."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(images, place, folder) for place in _spread(len(images.test), count)]


def _write(images: ImageSet, place: int, folder: Path) -> Path:
    painted = colours.paint(images.test[place], colours.parse(images.palette))
    file = folder / f"{place:05d}.png"
    Image.fromarray(painted).save(file)
    return file


def _spread(total: int, count: int | None) -> list[int]:
    """Numbers spread evenly from the first to the last: neighbours are often variants of one drawing."""
    if count is not None and count > total:
        raise DataRefused(f"There are {total} test images, not {count}.")
    places = np.linspace(0, total - 1, total if count is None else count)
    return [int(place) for place in places.round()]


if __name__ == "__main__":
    sys.exit(main())
