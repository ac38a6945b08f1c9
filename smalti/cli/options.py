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
    """A number in a range; 'nan' is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


class PictureFile(click.Path):
    """The path of a picture; an empty path is refused, because it would mean the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(finding.place(value), param, ctx)


patience = click.option(
    "--patience",
    type=Number(0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to try again while the server is away or busy.",
)


class Label(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        key, separator, text = value.partition("=")
        if not separator:
            self.fail(f"'{value}' is not KEY=VALUE.", param, ctx)
        return key, text


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
version = click.option(
    "--version",
    "version",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Version of the model. Default: the latest.",
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
    help="Below 1 draws likelier images, above 1 more varied ones.",
)
rows = click.option("--rows", type=click.IntRange(0), metavar="N", help="Keep this many rows, from the top.")
mask = click.option(
    "--mask",
    type=PictureFile(),
    metavar="FILE",
    help="A picture of the same size: pixels are kept where it is light.",
)
pictures = click.argument("pictures", nargs=-1, required=True, type=PictureFile())
fit = click.option(
    "--fit",
    "how",
    type=click.Choice([str(way) for way in Fit]),
    callback=lambda context, parameter, way: None if way is None else Fit(way),
    help="Bring pictures to the model's size. resize: the whole picture; crop: its middle, filling the size; both keep "
    "proportions, shrink by averaging areas, and enlarge by repeating pixels. pad: only add a border. "
    "Borders are transparent. Training does it in another way: it cuts off transparent borders, makes pictures smaller "
    "but never larger, and aligns them with the bottom edge.",
)
output = click.option(
    "-o",
    "--output",
    type=PlaceOption(),
    help="FILE.png (or .webp, .jpg, .gif, .bmp), FOLDER/ for one file each, or - for standard output. "
    "Default: show them in the terminal.",
)
scale = click.option(
    "--scale",
    type=click.IntRange(1, LARGEST_SCALE),
    metavar="N",
    help="Write each pixel as N×N. Default: a single picture is made large enough to look at, a sheet a little "
    "larger, and files in a folder are as the model draws them.",
)


def completion(
    client: Client,
    model: str,
    version: int,
    image: Path | None = None,
    *,
    rows: int | None,
    mask: Path | None,
    how: Fit | None,
) -> Completion | None:
    """The completion that the options ask for; raises InvalidRequest if they do not fit together."""
    if image is None:
        if rows is not None or mask is not None or how is not None:
            raise InvalidRequest(
                "--rows, --mask and --fit need a picture: --complete PICTURE, which is missing."
            )
        return None
    if (rows is None) == (mask is None):
        raise InvalidRequest("Say which part of the picture to keep: either --rows N or --mask FILE.")
    described = client.model(model, version=version).model
    kept = None if mask is None else inputs.mask(described, mask, how)
    return Completion(image=inputs.picture(described, image, how), rows=rows, mask=kept)
