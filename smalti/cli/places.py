"""Where a command's pictures go: into a folder, into a file, or to standard output."""

import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from smalti.cli.streams import on_terminal
from smalti.errors import InvalidRequest
from smalti.pictures.files import unwritable, write_whole, writing_whole
from smalti.pictures.formats import PNG, Format, format_of

_OUTPUT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder, a file, or standard output (path None)."""

    path: Path | None
    form: Format = PNG
    is_folder: bool = False
    archive: str = ""  # the ending of a file that is no picture, such as .zip

    def __str__(self) -> str:
        if self.path is None:
            return "standard output"
        return f"{self.path}{os.sep}" if self.is_folder else str(self.path)

    def file(self, name: str) -> Path:
        """A file in the folder."""
        assert self.path is not None, "only a folder has files"
        return self.path / name

    def write(self, data: bytes) -> None:
        """Write the file; raises InvalidRequest if it cannot be written."""
        if self.path is None:
            sys.stdout.buffer.write(data)
        else:
            write_whole(self.path, data)

    def writing(self) -> AbstractContextManager[BinaryIO]:
        """The file, to be written bit by bit; raises InvalidRequest if it cannot be written."""
        assert self.path is not None, "standard output takes pictures only"
        return writing_whole(self.path)


class PlaceOption(click.ParamType[Place]):
    """Reads -o, and refuses a place that cannot be written before anything is drawn."""

    name = "path"

    def __init__(self, *, archives: tuple[str, ...] = ()) -> None:
        self._archives = archives  # endings of files that are no pictures and can be written, too

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        place = value if isinstance(value, Place) else _place(str(value), self._archives)
        _require_writable(place)
        return place


def _place(text: str, archives: tuple[str, ...]) -> Place:
    if text == _OUTPUT:
        return _standard_output()
    if not text:
        raise InvalidRequest("-o is empty: write -o FILE.png, or -o FOLDER/.")
    path = Path(text)
    try:
        return _folder_or_file(path, archives, is_folder=text.endswith(("/", os.sep)))
    except (OSError, ValueError) as error:  # the name is too long, or has a zero byte
        raise unwritable(path, error) from error


def _standard_output() -> Place:
    if on_terminal(sys.stdout):
        raise InvalidRequest(
            "Standard output is a terminal, and would show the bytes of the picture: "
            "add > FILE or | COMMAND, or leave out -o to see the picture."
        )
    return Place(path=None)


def _folder_or_file(path: Path, archives: tuple[str, ...], *, is_folder: bool) -> Place:
    if path.is_dir():
        return Place(path=path, is_folder=True)
    if path.exists() and not path.is_file():  # a device or a pipe
        return Place(path=path)
    unnamed = path.name.startswith(".") and not path.suffix
    if not is_folder and (unnamed or path.name.endswith(".") or not path.name.strip()):
        raise InvalidRequest(
            f"-o {str(path)!r} names neither a file nor a folder: write FILE.png, or {path}{os.sep} for a folder of "
            "that name."
        )
    if is_folder or not path.suffix:
        return Place(path=path, is_folder=True)
    if path.suffix.lower() in archives:
        return Place(path=path, archive=path.suffix.lower())
    try:
        return Place(path=path, form=format_of(path))
    except InvalidRequest as error:
        also = f" Here it may also be {' or '.join(archives)}." if archives else ""
        raise InvalidRequest(f"{error}{also} For a folder of that name write {path}{os.sep}.") from error


def _require_writable(place: Place) -> None:
    """Raise InvalidRequest if it is clear already that nothing can be written."""
    if place.path is None:
        return
    if place.is_folder and place.path.exists() and not place.path.is_dir():
        raise InvalidRequest(
            f"{place.path} is a file, not a folder; a picture's file has an ending, such as .png."
        )
    there = place.path if place.path.exists() else next(up for up in _parents(place.path) if up.exists())
    if there != place.path and not there.is_dir():
        raise InvalidRequest(f"{place.path} cannot be written: {there} is not a folder.")
    if not os.access(there, os.W_OK):
        raise InvalidRequest(f"{place.path} cannot be written: there is no permission to write to {there}.")


def _parents(path: Path) -> tuple[Path, ...]:
    return tuple(path.absolute().parents)
