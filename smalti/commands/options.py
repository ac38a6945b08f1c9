"""Options that several commands share."""

import re
from collections.abc import Callable
from functools import wraps
from math import isnan
from pathlib import Path
from typing import Any, TypeVar

import click

from smalti import media
from smalti.channel import DEFAULT_ADDRESS
from smalti.client import Client
from smalti.commands.places import PlaceOption
from smalti.errors import GraphNotServed, InvalidRequest, SmaltiError
from smalti.formats import LARGEST_SCALE
from smalti.messages import png_of
from smalti.values import Completion

_FIELD = re.compile(r"^[a-z]+(?= is )|\b[a-z]+(_[a-z]+)+\b")  # of the contract, in a message
_INSTEAD = {
    "draw": "submit {model} --watch",
    "submit": "draw {model}",
}  # where a model is not made for a command
Command = TypeVar("Command", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A number in a range; 'nan' is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if isnan(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number


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
    type=click.Path(path_type=Path),
    metavar="PNG",
    help="PNG of the same size: its light pixels are kept.",
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


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command a client of the server that --server or SMALTI_SERVER names.

    Errors that name a field of the contract name the command's option instead.
    """

    @click.option(
        "--server",
        envvar="SMALTI_SERVER",
        default=DEFAULT_ADDRESS,
        show_default=True,
        show_envvar=True,
        metavar="ADDRESS",
        help="HOST:PORT of the server.",
    )
    @wraps(command)
    def run(*args: Any, server: str, **options: Any) -> Any:
        try:
            with Client(server) as client:
                return command(client, *args, **options)
        except SmaltiError as error:
            error.args = (_reworded(error, click.get_current_context().command, options.get("model", "")),)
            raise

    return run


def _reworded(error: SmaltiError, command: click.Command, model: str) -> str:
    """The error in the words of the command line."""
    message = _FIELD.sub(lambda field: _options_of(command).get(field[0], field[0]), str(error))
    instead = _INSTEAD.get(command.name or "") if isinstance(error, GraphNotServed) else None
    return f"{message} The command for it: smalti {instead.format(model=model)}" if instead else message


def _options_of(command: click.Command) -> dict[str, str]:
    """The command's options by the fields that they fill."""
    return {
        param.name or "": max(param.opts, key=len)
        for param in command.params
        if isinstance(param, click.Option)
    }


def completion(image: Path | None, rows: int | None, mask: Path | None) -> Completion | None:
    """What the options say is to be kept; raises InvalidRequest where they do not fit together."""
    if image is None:
        if rows is not None or mask is not None:
            raise InvalidRequest(
                "--rows and --mask say what to keep of --complete PICTURE, which is missing."
            )
        return None
    if (rows is None) == (mask is None):
        raise InvalidRequest("Say what of the picture to keep: either --rows N or --mask PNG.")
    kept = None if mask is None else media.mask(png_of(mask))
    return Completion(image=image, rows=rows, mask=kept)
