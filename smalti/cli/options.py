"""Options that several commands share."""

from math import isnan
from pathlib import Path
from typing import Any

import click

from smalti.cli import inputs
from smalti.cli.places import PlaceOption
from smalti.client import Client, Completion
from smalti.errors import InvalidRequest
from smalti.pictures import finding
from smalti.pictures.fitting import Fit
from smalti.pictures.formats import LARGEST_SCALE


class Number(click.FloatRange):
    """A number in a range; 'nan' is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if isnan(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number


class PictureFile(click.Path):
    """The path of a picture; an empty one is refused, as it would be the folder that the shell is in."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(finding.place(value), param, ctx)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
version = click.option(
    "--version",
    "version",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Of the model; the latest without it.",
)
seed = click.option(
    "--seed", type=click.IntRange(0, 2**64 - 1), metavar="N", help="The same seed draws the same images."
)
first_index = click.option(
    "--first-index", type=click.IntRange(0), default=0, metavar="N", help="Skip this many images of the seed."
)
temperature = click.option(
    "--temperature",
    type=Number(0.05, 10.0),
    default=1.0,
    show_default=True,
    metavar="T",
    help="Below 1 tamer, above 1 wilder.",
)
rows = click.option(
    "--rows", type=click.IntRange(0), metavar="N", help="Rows of the picture to keep, from the top."
)
mask = click.option(
    "--mask",
    type=PictureFile(),
    metavar="FILE",
    help="Picture of the same size: where it is light, pixels are kept.",
)
pictures = click.argument("pictures", nargs=-1, required=True, type=PictureFile())
fit = click.option(
    "--fit",
    "how",
    type=click.Choice([str(way) for way in Fit]),
    callback=lambda context, parameter, way: None if way is None else Fit(way),
    help="Bring pictures to the model's size. resize: show all of it; crop: fill the size with its middle; both keep "
    "proportions, and make it smaller by the mean of areas or larger by repeating pixels. pad: only add around it. "
    "What is added is transparent. Training places pictures otherwise: it cuts transparent borders off, makes smaller "
    "but never larger, and stands what is left on the bottom edge.",
)
output = click.option(
    "-o",
    "--output",
    type=PlaceOption(),
    help="FILE.png (or .webp, .jpg, .gif, .bmp), FOLDER/ for one file each, or - for standard output; "
    "without it they are shown in the terminal.",
)
scale = click.option(
    "--scale",
    type=click.IntRange(1, LARGEST_SCALE),
    metavar="N",
    help="Write each pixel as N×N. Without it a single picture is enlarged to be looked at, a sheet a little, "
    "and files in a folder are as the model draws them.",
)


def completion(
    client: Client,
    model: str,
    version: int,
    image: Path | None,
    *,
    rows: int | None,
    mask: Path | None,
    how: Fit | None,
) -> Completion | None:
    """What the options say is to be kept; raises InvalidRequest where they do not fit together."""
    if image is None:
        if rows is not None or mask is not None or how is not None:
            raise InvalidRequest(
                "--rows, --mask and --fit say what to do with --complete PICTURE, which is missing."
            )
        return None
    if (rows is None) == (mask is None):
        raise InvalidRequest("Say what of the picture to keep: either --rows N or --mask FILE.")
    described = client.model(model, version=version).model
    kept = None if mask is None else inputs.mask(described, mask, how)
    return Completion(image=inputs.picture(described, image, how), rows=rows, mask=kept)
