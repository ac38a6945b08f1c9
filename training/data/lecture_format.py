"""`python -m training.data.lecture_format PICTURES OUTPUT`: writes pictures in the lecture's text format.

Use it to train on that format without the lecture's own images. It prints what counting achieves on the images, which
shows how similar to the lecture's they are: with `--stretched --shades 12`, the sprites of Dungeon Crawl are about as
hard for counting as the lecture's (docs/experiments/0003-diagonal.md).
"""

import sys
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from smalti import palette as colours
from smalti.errors import SmaltiError
from training import arguments
from training.data import dataset, palettes, sources, splits
from training.data.sources import LECTURE_COLOURS, LECTURE_PIXELS, Pictures
from training.images import Pixels
from training.measures import baselines
from training.recipe import DataRecipe

DEFAULTS = DataRecipe()


@click.command()
@click.argument("pictures", type=arguments.Place())
@click.argument("output", type=arguments.Place())
@click.option("--size", type=click.IntRange(4, 64), default=DEFAULTS.size, show_default=True)
@click.option("--colours", "most", type=click.IntRange(2, 256), default=DEFAULTS.colours, show_default=True)
@click.option(
    "--background",
    type=arguments.Colour(),
    default=DEFAULTS.background,
    show_default=True,
    help="The colour behind transparent pixels.",
)
@click.option("--stretched", is_flag=True, help="Stretch each picture's content to fill its square.")
@click.option(
    "--shades", type=click.IntRange(2), help="The most colours in one image, without the background."
)
def main(
    pictures: Path, output: Path, size: int, most: int, background: str, stretched: bool, shades: int | None
) -> None:
    """Write the pictures of PICTURES (a folder or .zip) to OUTPUT as pixel_color.txt and colormap.txt."""
    try:
        found = sources.pictures(pictures, size=size, background=background, stretched=stretched)
        count = convert(found, output, most=most, background=background, shades=shades)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{count} images of {size}×{size} in {output}")
    if found.report.skipped:
        click.echo(found.report.skipped_sentence(), err=True)
    if count > splits.LECTURE_TEST + splits.LECTURE_VALID:
        click.echo(f"counting, nats per image on the lecture's test images: {_counted(output)}")


def convert(found: Pictures, output: Path, *, most: int, background: str, shades: int | None = None) -> int:
    """Write pictures in the lecture's format; returns their number. All images make the palette, as in the lecture."""
    rgb = _with_few_shades(found, shades) if shades else found.rgb
    palette = palettes.find_palette(rgb, background=background, colours=most, seed=0)
    write(output, colours.nearest(rgb, palette).pixels, palette)
    return len(rgb)


def _with_few_shades(found: Pictures, shades: int) -> NDArray[np.uint8]:
    """Every image (images, size, size, 3) in at most `shades` colours of its own, besides the background."""
    rgb = found.rgb.copy()
    for image, opaque in zip(rgb, found.opaque, strict=True):
        image[opaque] = palettes.simplify(image[opaque], colours=shades, seed=0)
    return rgb


def _counted(folder: Path) -> str:
    images = dataset.load(folder, DEFAULTS)
    figures = {name: nats.mean() for name, nats in baselines.nats_per_image(images).items()}
    return ", ".join(f"{name} {figure:.1f}" for name, figure in figures.items())


def write(output: Path, pixels: Pixels, palette: NDArray[np.uint8]) -> None:
    """Write images (images, size, size) and their palette (colours, 3), as `sources.lecture` reads them."""
    output.mkdir(parents=True, exist_ok=True)
    np.savetxt(output / LECTURE_COLOURS, palette, fmt="%d")
    np.savetxt(output / LECTURE_PIXELS, pixels.reshape(len(pixels), -1), fmt="%d")


if __name__ == "__main__":
    sys.exit(main())
