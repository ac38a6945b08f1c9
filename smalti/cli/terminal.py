"""Pictures in a terminal: two pixels in each character cell, as coloured half-blocks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from rich.color import Color
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style

from smalti.client import Image
from smalti.media import HIDDEN
from smalti.pixels import bytes_per_pixel

_UPPER = "▀"
_GAP = 2  # columns between pictures


@dataclass(slots=True)
class Canvas:
    """A picture that grows row by row, from the top."""

    height: int
    width: int
    palette: tuple[str, ...]
    rows: list[Sequence[int]] = field(default_factory=list)  # palette indices

    @property
    def is_complete(self) -> bool:
        """Whether every row is there."""
        return len(self.rows) == self.height

    def add(self, first_row: int, indices: bytes) -> None:
        """Add rows; missing rows before them get the palette's first colour."""
        count = len(indices) // (self.width * bytes_per_pixel(len(self.palette)))
        new = Image(height=count, width=self.width, indices=indices, palette=self.palette).pixels
        blank = [(0,) * self.width] * (first_row - len(self.rows))
        self.rows = [*self.rows[:first_row], *blank, *new]

    def colours(self, row: int) -> list[str]:
        """The colours of a row; grey if it is not drawn yet."""
        if row >= len(self.rows):
            return [HIDDEN] * self.width
        return [self.palette[index] for index in self.rows[row]]


def canvas_of(image: Image) -> Canvas:
    """A finished picture."""
    return Canvas(image.height, image.width, image.palette, list(image.pixels))


def shows_pictures(console: Console) -> bool:
    """Whether the terminal has colours and can show half-blocks."""
    colours = console.is_terminal and console.color_system is not None and not console.no_color
    return colours and _has(console.encoding, _UPPER)


def moves_pictures(console: Console) -> bool:
    """Whether pictures can be redrawn in place: only in a real terminal, whatever FORCE_COLOR says."""
    return shows_pictures(console) and console.file.isatty()


def _has(encoding: str, character: str) -> bool:
    try:
        return bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False


def columns_that_fit(picture_width: int, terminal_width: int) -> int:
    """How many pictures fit side by side."""
    return (terminal_width + _GAP) // (picture_width + _GAP)


def bands_that_fit(picture_height: int, terminal_height: int) -> int:
    """How many bands of pictures fit above each other, with an empty line between them."""
    lines = -(-picture_height // 2)
    return (terminal_height + 1) // (lines + 1)


def grid(canvases: Sequence[Canvas], *, columns: int) -> Segments:
    """Pictures of one size in bands of `columns`, with an empty line between bands."""
    segments: list[Segment] = []
    for start in range(0, len(canvases), columns):
        if start:
            segments.append(Segment.line())
        segments.extend(_band(canvases[start : start + columns]))
    return Segments(segments)


def _band(canvases: Sequence[Canvas]) -> Iterable[Segment]:
    for top in range(0, canvases[0].height, 2):
        for position, canvas in enumerate(canvases):
            if position:
                yield Segment(" " * _GAP)
            yield from _line(canvas, top)
        yield Segment.line()


def _line(canvas: Canvas, top: int) -> Iterable[Segment]:
    """Rows `top` and `top` + 1 as one line of half-blocks; equal neighbours share a segment."""
    last = top + 1 == canvas.height
    below: Sequence[str | None] = [None] * canvas.width if last else canvas.colours(top + 1)
    run, length = (canvas.colours(top)[0], below[0]), 0
    for pair in zip(canvas.colours(top), below, strict=True):
        if pair != run:
            yield _run(run, length)
            run, length = pair, 0
        length += 1
    yield _run(run, length)


def _run(pair: tuple[str, str | None], length: int) -> Segment:
    return Segment(_UPPER * length, _style(*pair))


@lru_cache(maxsize=4096)  # a picture has few pairs of colours, and making a style is most of the work
def _style(upper: str, lower: str | None) -> Style:
    return Style.from_color(Color.parse(upper), None if lower is None else Color.parse(lower))


class Gallery:
    """Chooses which samples of a job are shown in a limited number of places.

    A new sample takes a free place, or else the place of the sample that ended first. If none has ended, the sample
    waits, and its rows are kept. A place shows its sample until another one takes it.
    """

    def __init__(self, places: int, *, height: int, width: int, palette: tuple[str, ...]) -> None:
        self._places = places
        self._blank = (height, width, palette)
        self._drawing: dict[int, Canvas] = {}  # by sample
        self._shown: dict[int, Canvas] = {}  # by sample; never more than `places`
        self._ended: list[int] = []  # shown samples, in the order in which they ended
        self._order: list[int] = []  # the sample in each taken place

    @property
    def canvases(self) -> list[Canvas]:
        """The pictures shown now, by place."""
        return [self._shown[sample] for sample in self._order]

    def add_rows(self, sample: int, first_row: int, indices: bytes) -> None:
        """More rows of a sample in progress."""
        canvas = self._drawing.setdefault(sample, Canvas(*self._blank))
        canvas.add(first_row, indices)
        if sample not in self._shown:
            self._show(sample, canvas)

    def end(self, sample: int) -> bool:
        """Note that a sample has ended; return whether it is shown and lacks rows."""
        canvas = self._drawing.pop(sample, None)
        if sample not in self._shown:
            return False
        self._ended.append(sample)
        return canvas is not None and not canvas.is_complete

    def complete(self, sample: int, image: Image) -> None:
        """Show the finished picture of a sample, if it still has a place."""
        if sample in self._shown:
            self._shown[sample].rows = list(image.pixels)

    def _show(self, sample: int, canvas: Canvas) -> None:
        if len(self._order) < self._places:
            self._order.append(sample)
        elif self._ended:
            gone = self._ended.pop(0)
            self._order[self._order.index(gone)] = sample
            del self._shown[gone]
        else:
            return
        self._shown[sample] = canvas
