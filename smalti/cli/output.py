"""How commands give their results: as JSON, tables, files, sheets, or pictures in the terminal."""

import base64
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from math import ceil, sqrt
from textwrap import wrap
from typing import Any

import click
from PIL import Image as pillow
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from smalti import media
from smalti.cli.places import Place
from smalti.cli.streams import on_terminal
from smalti.cli.terminal import canvas_of, columns_that_fit, grid, shows_pictures
from smalti.client import ColourChange, Image
from smalti.errors import InvalidRequest
from smalti.pictures.formats import Format, encoded, enlarged, fits, loss, require_fit, screen_scale

_INDENT = 4  # columns, of a cell that moves below its line


@dataclass(frozen=True, slots=True)
class Saved:
    """What was written."""

    files: Sequence[str]  # one for each image; on a sheet it is the same for all
    words: str


def print_json(value: Any) -> None:
    """One line of JSON."""
    click.echo(json.dumps(plain(value)))


def print_manifest(manifest: Mapping[str, Any]) -> None:
    """Indented JSON, in colours only on a terminal, because programs read it too."""
    if on_terminal(sys.stdout):
        Console().print_json(data=dict(manifest))
    else:
        click.echo(json.dumps(dict(manifest), indent=2))


def described(images: Sequence[Image], saved: Saved | None) -> list[dict[str, Any]]:
    """Images for JSON: each has the same keys, whether it was written to a file or not."""
    if saved is None:
        return [{"png": plain(image)["png"], "file": None} for image in images]
    return [{"png": None, "file": file} for file in saved.files]


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
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def print_table(lines: Sequence[Sequence[str]]) -> None:
    """Print columns side by side; nothing is cut: in a narrow terminal the last column moves below."""
    widths = [max(map(cell_len, column)) for column in list(zip(*lines, strict=True))[:-1]]
    longest = max(cell_len(word) for line in lines for word in line[-1].split() or [""])
    for line in lines:
        start = "".join(
            f"{set_cell_size(cell, width)}  " for cell, width in zip(line[:-1], widths, strict=True)
        )
        click.echo(_joined(start, line[-1], longest_word=longest).rstrip())


def _joined(start: str, rest: str, *, longest_word: int) -> str:
    """A line of a table: the last column beside the others, or below them if there is no room."""
    if not on_terminal(sys.stdout):
        return start + rest
    width, indent = Console().width, cell_len(start)
    is_beside = indent + longest_word <= width
    margin = " " * (indent if is_beside else _INDENT)
    lines = wrap(rest, max(1, width - len(margin)), break_long_words=False, break_on_hyphens=False)
    below = f"\n{margin}".join(lines)
    return start + below if is_beside or not rest else f"{start.rstrip()}\n{margin}{below}"


def say(message: str) -> None:
    """Print a line for people on standard error; standard output has only the result."""
    click.echo(message, err=True)


def say_colour_change(change: ColourChange) -> None:
    """Say how many colours changed, if any did."""
    if change.moved_pixels:
        what = (
            "1 pixel had a colour"
            if change.moved_pixels == 1
            else f"{change.moved_pixels} pixels had colours"
        )
        took = "it took the nearest one" if change.moved_pixels == 1 else "they took its nearest ones"
        say(
            f"{what} outside the model's palette; {took}, "
            f"at most {change.largest_distance:.1f} away (CIELAB)."
        )


def require_place(output: Place | None, *, as_json: bool) -> None:
    """Raise InvalidRequest if images cannot be shown, or would be mixed with other output."""
    if output is None and not as_json and not shows_pictures(Console()):
        raise InvalidRequest(
            "There is no terminal with colours and Unicode to show images in: say where to write them with -o FILE.png."
        )
    require_unmixed(output, as_json=as_json)


def require_unmixed(output: Place | None, *, as_json: bool) -> None:
    """Raise InvalidRequest if a picture and JSON would both go to standard output."""
    if as_json and output is not None and output.path is None:
        raise InvalidRequest("With --json standard output has the JSON: write the picture with -o FILE.png.")


def show(images: Sequence[Image]) -> None:
    """Show images in the terminal, as many side by side as fit."""
    console = Console()
    columns = columns_that_fit(images[0].width, console.width)
    console.print(grid([canvas_of(image) for image in images], columns=max(1, columns)), end="")


def deliver(
    images: Sequence[Image], output: Place | None, *, columns: int | None = None, scale: int | None = None
) -> None:
    """Write images to the output, or show them in the terminal."""
    if output is None:
        show(images)
    else:
        say(f"Wrote {save(images, output, columns=columns, scale=scale).words}.")


def save(
    images: Sequence[Image], output: Place, *, columns: int | None = None, scale: int | None = None
) -> Saved:
    """Write one image enlarged, several as a sheet, or one file each into a folder."""
    if output.is_folder:
        return save_each(((f"{index:05d}", image) for index, image in enumerate(images)), output, scale)
    words = (
        write_single(images[0], output, scale)
        if len(images) == 1
        else write_picture(sheet(images, columns=columns), output, scale, usual=media.SHEET_SCALE)
    )
    return Saved([str(output)] * len(images), words)


def save_each(images: Iterable[tuple[str, Image]], folder: Place, scale: int | None) -> Saved:
    """Write a PNG for each named image, enlarged only if `scale` says so: files in a folder are data."""
    files = []
    for name, image in images:
        file = replace(folder, path=folder.file(f"{name}.png"), is_folder=False)
        write_picture(image.picture(), file, scale, usual=1)
        files.append(str(file))
    return Saved(files, f"{len(files)} image{'' if len(files) == 1 else 's'} to {folder}")


def write_single(image: Image, output: Place, scale: int | None) -> str:
    """Write one image, large enough to look at; return what was written, in words."""
    usual = screen_scale(image.width, image.height)
    return write_picture(image.picture(), output, scale, usual=usual)


def write_picture(picture: pillow.Image, output: Place, scale: int | None, *, usual: int) -> str:
    """Write the picture enlarged by `scale`, or without one by `usual` if that fits; return what was written."""
    times = scale or usual_scale(picture.size, output.form, usual)
    require_fit(picture.width * times, picture.height * times, output.form)
    large = enlarged(picture, times)
    output.write(encoded(large, output.form))
    if lost := loss(picture, output.form):
        say(lost)
    where = "a picture to standard output" if output.path is None else str(output)
    return where + enlargement(picture.size, times if scale is None else 1)


def enlargement(size: tuple[int, int], times: int) -> str:
    """Words on an enlargement that the user did not ask for; '' if there was none."""
    return f", each pixel {times}×{times} (--scale 1 writes {size[0]}×{size[1]})" if times > 1 else ""


def usual_scale(size: tuple[int, int], form: Format, usual: int) -> int:
    """The largest scale, up to the usual one, at which a picture can be written."""
    width, height = size
    fitting = (times for times in range(usual, 1, -1) if fits(width * times, height * times, form))
    return next(fitting, 1)


def sheet(images: Sequence[Image], *, columns: int | None = None) -> pillow.Image:
    """All images on a sheet; without `columns` it is about as wide as high."""
    pictures = [image.picture() for image in images]
    return media.sheet(pictures, columns=columns or ceil(sqrt(len(pictures))), scale=1)
