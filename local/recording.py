"""`make recording`: records rows appearing in a terminal, from the real command and system, as an animated GIF."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import click
import numpy as np
import pyte
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from local.ports import free_ports
from local.system import System, without_protection
from smalti.errors import SmaltiError
from smalti.pictures.files import write_whole
from smalti.runtime.stopping import interrupting

_COLUMNS, _LINES = 86, 27
_CELL = (10, 20)  # screen pixels of a character: half of it is a square
_FONT_SIZE = 16
_MARGIN = 16  # screen pixels around the terminal
_BACKGROUND, _INK = "#0d1117", "#e6edf3"
_UPPER_HALF = "▀"
_NAMED = {"red": "#ff7b72", "green": "#3fb950", "brown": "#d29922", "blue": "#58a6ff", "cyan": "#39c5cf"}
_PROMPT = "$ "
_TYPING_SECONDS = 0.04  # for one character
_PAUSE_SECONDS = 0.4  # after the command is typed
_LAST_SECONDS = 4.0  # how long the last frame stays
_QUIET_SECONDS = 0.03  # silence by which one frame of the view ends
_GIF_COLOURS = 256
_SHADES = 6  # shades of a letter's edge; a GIF holds 256 colours in all
_SLOTS = 8  # as many as there is room for, so that every sample on the screen grows
_WORDS = "submit {model} --count {count} --seed {seed} --watch"


@dataclass(frozen=True, slots=True)
class Burst:
    """What a command wrote at once, and when."""

    seconds: float  # since the command started
    data: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of the terminal, and how long it is shown."""

    picture: Image.Image
    seconds: float


@click.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("docs/drawing.gif"), show_default=True
)
@click.option("--model", default="sprites-pixel-rnn", show_default=True)
@click.option(
    "--count", type=click.IntRange(1, 100), default=60, show_default=True, help="Samples of the job."
)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=7, show_default=True)
def main(output: Path, model: str, count: int, seed: int) -> None:
    """Start Redis, a server and a worker, record `smalti submit ... --watch` in a terminal, and stop everything."""
    settings = {"SMALTI_SLOTS": str(_SLOTS), **without_protection(click.echo)}
    words = _WORDS.format(model=model, count=count, seed=seed)
    try:
        with (
            interrupting(),
            System(free_ports(1), redis_url=None, settings=settings, say=click.echo) as system,
        ):
            bursts = record(
                [sys.executable, "-m", "smalti", *words.split()], settings={"SMALTI_SERVER": system.address}
            )
        frames = list(play(f"smalti {words}", bursts))
        write_whole(output, gif(frames))
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error
    seconds = sum(frame.seconds for frame in frames)
    click.echo(
        f"Wrote {len(frames)} frames, {seconds:.0f} s and {output.stat().st_size:,} bytes, to {output}."
    )


def record(command: Sequence[str], *, settings: Mapping[str, str]) -> list[Burst]:
    """Run a command in a terminal of its own; raises SmaltiError if it fails."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
    inherited = {
        name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}
    }
    terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONUTF8": "1"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=inherited | terminal | dict(settings)
    ) as process:
        os.close(theirs)
        bursts = list(_bursts(ours))
    os.close(ours)
    if process.returncode:
        said = b"".join(burst.data for burst in bursts).decode(errors="replace")
        raise SmaltiError(f"The command to record ended with exit code {process.returncode}: {said.strip()}")
    return bursts


def _bursts(terminal: int) -> Iterator[Burst]:
    """The output of a terminal until it is closed; what follows at once belongs together."""
    began = monotonic()
    data, last = b"", 0.0
    with suppress(OSError):  # this is how Linux reports a closed terminal
        while part := os.read(terminal, 65536):
            now = monotonic() - began
            if data and now - last >= _QUIET_SECONDS:
                yield Burst(last, data)
                data = b""
            data, last = data + part, now
    if data:
        yield Burst(last, data)


def play(command: str, bursts: Sequence[Burst]) -> Iterator[Frame]:
    """The frames of a recording, from the typed command to the prompt after its end."""
    screen = pyte.Screen(_COLUMNS, _LINES)
    stream = pyte.ByteStream(screen)
    stream.feed(_PROMPT.encode())
    for letter in command:
        stream.feed(letter.encode())
        yield Frame(picture_of(screen), _TYPING_SECONDS)
    yield Frame(picture_of(screen), _PAUSE_SECONDS)
    stream.feed(b"\r\n")
    for burst, following in pairwise(bursts):
        stream.feed(burst.data)
        yield Frame(picture_of(screen), following.seconds - burst.seconds)
    stream.feed(bursts[-1].data)
    stream.feed(_PROMPT.encode())
    yield Frame(picture_of(screen), _LAST_SECONDS)


def picture_of(screen: pyte.Screen) -> Image.Image:
    """What the terminal shows."""
    width, height = _CELL
    size = (screen.columns * width + 2 * _MARGIN, screen.lines * height + 2 * _MARGIN)
    picture = Image.new("RGB", size, _BACKGROUND)
    pen = ImageDraw.Draw(picture)
    for line in range(screen.lines):
        for column in range(screen.columns):
            left, top = _MARGIN + column * width, _MARGIN + line * height
            _draw_cell(picture, pen, screen.buffer[line][column], left, top)
    if not screen.cursor.hidden:
        left, top = _MARGIN + screen.cursor.x * width, _MARGIN + screen.cursor.y * height
        pen.rectangle((left, top, left + width - 1, top + height - 1), fill=_INK)
    return picture


def _draw_cell(picture: Image.Image, pen: ImageDraw.ImageDraw, cell: Any, left: int, top: int) -> None:
    width, height = _CELL
    ink, paper = _colour(cell.fg, _INK), _colour(cell.bg, _BACKGROUND)
    if paper != _BACKGROUND:
        pen.rectangle((left, top, left + width - 1, top + height - 1), fill=paper)
    if cell.data == _UPPER_HALF:
        pen.rectangle((left, top, left + width - 1, top + height // 2 - 1), fill=ink)
    elif cell.data.strip():
        letter = _letter(cell.data)
        picture.paste(Image.new("RGB", _CELL, ink), (left, top), letter)


def _colour(name: str, default: str) -> str:
    """A colour as pyte names it: 'default', a word, or six hexadecimal digits."""
    if name == "default":
        return default
    return _NAMED.get(name) or (f"#{name}" if len(name) == 6 else _INK)


@cache
def _letter(character: str) -> Image.Image:
    """The shape of a character, with few shades at its edges."""
    shape = Image.new("L", _CELL, 0)
    middle = (_CELL[0] / 2, _CELL[1] / 2 + 5)
    ImageDraw.Draw(shape).text(middle, character, fill=255, font=_font(), anchor="ms")
    step = 255 // _SHADES
    return shape.point([round(level / step) * step for level in range(256)])


@cache
def _font() -> ImageFont.FreeTypeFont:
    """The DejaVu font that matplotlib brings along; matplotlib itself is not imported."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise SmaltiError("Recording needs the font of matplotlib: run `make setup`.")
    return ImageFont.truetype(
        Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSansMono.ttf", _FONT_SIZE
    )


def gif(frames: Sequence[Frame]) -> bytes:
    """An animated GIF that repeats for ever; raises SmaltiError for more than 256 colours in all."""
    coded = [_codes(frame.picture) for frame in frames]
    colours = np.unique(np.concatenate([np.unique(codes) for codes in coded]))
    if len(colours) > _GIF_COLOURS:
        raise SmaltiError(
            f"The recording has {len(colours)} colours and a GIF holds {_GIF_COLOURS}: choose a model with fewer."
        )
    first, *others = (_indexed(codes, colours) for codes in coded)
    stream = BytesIO()
    first.save(
        stream,
        "GIF",
        save_all=True,
        append_images=others,
        duration=[round(frame.seconds * 100) * 10 for frame in frames],  # a GIF counts hundredths of a second
        loop=0,
        optimize=False,
    )
    return stream.getvalue()


def _codes(picture: Image.Image) -> NDArray[np.uint32]:
    """(height, width): each colour as one number."""
    red, green, blue = np.moveaxis(np.asarray(picture, dtype=np.uint32), -1, 0)
    return np.asarray(red << 16 | green << 8 | blue)


def _indexed(codes: NDArray[np.uint32], colours: NDArray[np.uint32]) -> Image.Image:
    """The picture in a palette of all colours: Pillow's own mapping mixes up colours that are nearly the same."""
    picture = Image.fromarray(np.searchsorted(colours, codes).astype(np.uint8)).convert("P")
    picture.putpalette(b"".join(int(colour).to_bytes(3, "big") for colour in colours))
    return picture


if __name__ == "__main__":
    main()
