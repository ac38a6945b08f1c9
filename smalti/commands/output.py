"""How commands hand over what they have: JSON, PNG files and sheets, pictures in the terminal."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import click
from PIL import Image as pillow
from rich.console import Console
from rich.table import Table

from smalti import media
from smalti.errors import InvalidRequest
from smalti.terminal import canvas_of, columns_that_fit, grid, shows_pictures
from smalti.values import ColourChange, Image

_WIDTH_OF_A_FILE = 1000  # columns: no table is that wide
_SHEET_SCALE = 4  # sides of a pixel on a sheet, so that small pictures can be looked at


def print_json(value: Any) -> None:
    """One line of JSON."""
    click.echo(json.dumps(plain(value)))


def plain(value: Any) -> Any:
    """The value in JSON's types: an image becomes its PNG in base64, a time its ISO form."""
    if isinstance(value, Image):
        return {"png": base64.b64encode(value.png()).decode()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def print_table(table: Table) -> None:
    """A table as wide as the terminal, and in a file or pipe as wide as it likes."""
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=_WIDTH_OF_A_FILE)
    console.print(table)


def say(message: str) -> None:
    """A line for people: on standard error, so that standard output stays what was asked for."""
    click.echo(message, err=True)


def say_colour_change(change: ColourChange) -> None:
    """Tell that colours had to move, if any did."""
    if change.moved_pixels:
        say(
            f"{change.moved_pixels} pixels had colours outside the model's palette; "
            f"they took its nearest ones, at most {change.largest_distance:.1f} away (CIELAB)."
        )


def require_place(output: Path | None, *, as_json: bool) -> None:
    """Raise InvalidRequest where images could be shown nowhere."""
    if output is None and not as_json and not shows_pictures(Console()):
        raise InvalidRequest(
            "There is no terminal with colours to show images in: say where to write them with -o FILE.png."
        )


def show(images: Sequence[Image]) -> None:
    """Images in the terminal, as many side by side as fit."""
    console = Console()
    columns = columns_that_fit(images[0].width, console.width)
    console.print(grid([canvas_of(image) for image in images], columns=max(1, columns)), end="")


def deliver(images: Sequence[Image], output: Path | None, *, columns: int | None = None) -> None:
    """Write images where they are wanted, or show them in the terminal."""
    if output is None:
        show(images)
    else:
        say(f"Wrote {save(images, output, columns=columns)}.")


def save(images: Sequence[Image], output: Path, *, columns: int | None = None) -> str:
    """One image as it is, several as a sheet; into a folder one file each. Says what was written."""
    if is_folder(output):
        count = save_each(enumerate(images), output)
        return f"{count} images to {output}/"
    if len(images) == 1:
        write(output, images[0].png())
    else:
        write(output, media.encode(sheet(images, columns=columns)))
    return str(output)


def sheet(images: Sequence[Image], *, columns: int | None = None) -> pillow.Image:
    """All images side by side, enlarged; about as many columns as rows unless told."""
    pictures = [image.picture() for image in images]
    return media.sheet(pictures, columns=columns or ceil(sqrt(len(pictures))), scale=_SHEET_SCALE)


def save_each(images: Iterable[tuple[int, Image]], folder: Path) -> int:
    """One PNG for each image, named by its index; how many there were."""
    count = 0
    for index, image in images:
        write(folder / f"{index:05d}.png", image.png())
        count += 1
    return count


def is_folder(output: Path) -> bool:
    """Whether a path without a suffix, or an existing folder, was given."""
    return output.is_dir() or not output.suffix


def write(path: Path, data: bytes) -> None:
    """Write a file, and its folder if need be; raises InvalidRequest where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror}.") from error
