"""`python -m training.lecture_format PICTURES OUTPUT`: pictures in the lecture's text format.

For trying out what trains on that format where the lecture's own images are not at hand.
"""

import sys
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from smalti import palette as colours
from smalti.errors import SmaltiError
from training import quantise, sources
from training.recipe import DataRecipe
from training.sources import LECTURE_COLOURS, LECTURE_PIXELS, Pixels

DEFAULTS = DataRecipe()


@click.command()
@click.argument("pictures", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--size", type=click.IntRange(4, 64), default=DEFAULTS.size, show_default=True)
@click.option("--colours", "most", type=click.IntRange(2, 256), default=DEFAULTS.colours, show_default=True)
@click.option(
    "--background", default=DEFAULTS.background, show_default=True, help="Behind what is transparent."
)
def main(pictures: Path, output: Path, size: int, most: int, background: str) -> None:
    """Write all images of PICTURES (a folder or .zip) to OUTPUT as pixel_color.txt and colormap.txt."""
    try:
        count = convert(pictures, output, size=size, most=most, background=background)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{count} images of {size}×{size} in {output}")


def convert(path: Path, output: Path, *, size: int, most: int, background: str) -> int:
    """As the command; the number of images. The palette is that of all images, as in the lecture."""
    found = sources.pictures(path, size=size, background=background)
    palette = quantise.find_palette(found.rgb, background=background, colours=most, seed=0)
    write(output, colours.nearest(found.rgb, palette).pixels, palette)
    return len(found.rgb)


def write(output: Path, pixels: Pixels, palette: NDArray[np.uint8]) -> None:
    """Images (images, size, size) and their palette (colours, 3), as `sources.lecture` reads them."""
    output.mkdir(parents=True, exist_ok=True)
    np.savetxt(output / LECTURE_COLOURS, palette, fmt="%d")
    np.savetxt(output / LECTURE_PIXELS, pixels.reshape(len(pixels), -1), fmt="%d")


if __name__ == "__main__":
    sys.exit(main())
