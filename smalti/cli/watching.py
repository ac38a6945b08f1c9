"""Follows a job: live pictures in a terminal, plain lines elsewhere, JSON for scripts."""

from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from smalti.cli.output import print_json
from smalti.cli.progress import WAITING, Pace, describe, progress_lines
from smalti.cli.terminal import (
    Canvas,
    Gallery,
    bands_that_fit,
    canvas_of,
    columns_that_fit,
    grid,
    shows_pictures,
)
from smalti.client import (
    Client,
    Image,
    Interrupted,
    Job,
    JobEvent,
    SampleEnded,
    SampleRows,
)
from smalti.client.palettes import palette_of
from smalti.errors import Busy, Unavailable
from smalti.jobs.job import JobState

_FRAME_SECONDS = 0.1  # between two frames
_LINE_SECONDS = 1.0  # between two lines without a terminal
_LINES_BESIDE_PICTURES = 5  # an empty line, the bar, its text, a notice, and the line with the cursor


class View(Protocol):
    """Shows what happens to a job."""

    wants_rows: bool

    def show(self, event: JobEvent) -> None:
        """Show one event."""

    def close(self) -> None:
        """Show the last state and give the terminal back."""


def follow(client: Client, job: Job, view: View, *, patience_seconds: float) -> Job:
    """Show a job until it has ended, and return it.

    Ctrl-C raises KeyboardInterrupt and leaves the job alone.
    """
    try:
        for event in client.watch(job.id, rows=view.wants_rows, patience_seconds=patience_seconds):
            view.show(event)
            if isinstance(event, Job):
                job = event
    finally:
        view.close()
    return job


class LineView:
    """Prints a line when the state changes, and at most one a second while samples are drawn."""

    wants_rows = False

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pace: Pace | None = None
        self._state: tuple[JobState, str] | None = None
        self._printed = 0.0
        self._last_line = ""

    def show(self, event: JobEvent) -> None:
        """Print a line if it is time for one."""
        match event:
            case Interrupted():
                self._print(f"{event.message} Trying again.")
            case Job() if self._is_due(event):
                self._pace = self._pace or Pace(event)
                self._state = (event.state, event.reason)
                self._printed = monotonic()
                self._print(f"{event.state}: {describe(event, self._pace)}")

    def close(self) -> None:
        """There is nothing to close."""

    def _is_due(self, job: Job) -> bool:
        return (job.state, job.reason) != self._state or monotonic() - self._printed >= _LINE_SECONDS

    def _print(self, line: str) -> None:
        if line != self._last_line:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._last_line = line


class JsonView:
    """Prints each event as one line of JSON."""

    wants_rows = False

    def show(self, event: JobEvent) -> None:
        """Print the event under its name."""
        print_json({_NAMES.get(type(event), "interrupted"): event})

    def close(self) -> None:
        """There is nothing to close."""


_NAMES: dict[type, str] = {Job: "job", SampleRows: "rows", SampleEnded: "ended"}


class LiveView:
    """Shows a progress bar below pictures of as many samples as fit into the terminal."""

    wants_rows = True

    def __init__(self, client: Client, job: Job, console: Console) -> None:
        self._client = client
        self._job = job
        self._pace = Pace(job)
        self._notice = ""
        described = client.model(job.model.name, version=job.model.version)
        palette = palette_of(described, job.model)
        self._columns = columns_that_fit(job.width, console.width)
        bands = bands_that_fit(job.height, console.height - _LINES_BESIDE_PICTURES)
        self._gallery = Gallery(self._columns * bands, height=job.height, width=job.width, palette=palette)
        self._screen = Screen(console, self._frame)

    def show(self, event: JobEvent) -> None:
        """Note the event; the screen follows at its own pace."""
        self._notice = f"{event.message} Trying again." if isinstance(event, Interrupted) else ""
        match event:
            case Job():
                self._job = event
            case SampleRows():
                self._gallery.add_rows(event.index, event.first_row, event.indices)
            case SampleEnded():
                self._end(event)
        self._screen.refresh(now=isinstance(event, Interrupted))

    def close(self) -> None:
        """Leave the last frame on the screen."""
        self._screen.close()

    def _end(self, event: SampleEnded) -> None:
        lacks_rows = self._gallery.end(event.index)
        if event.succeeded and lacks_rows:  # its last rows were committed together with its end
            with suppress(Busy, Unavailable):  # the last rows of one picture are not worth an error
                self._complete(event.index)

    def _complete(self, index: int) -> None:
        for result in self._client.results(self._job.id, start=index, limit=1):
            if result.index == index and result.image is not None:
                self._gallery.complete(index, result.image)

    def _frame(self) -> RenderableType:
        lines = progress_lines(self._job, self._pace)
        parts: list[RenderableType] = [lines]
        if self._gallery.canvases:
            parts = [grid(self._gallery.canvases, columns=self._columns), Text(), lines]
        if self._notice:
            parts.append(Text(self._notice, style="yellow", overflow="ellipsis", no_wrap=True))
        return Group(*parts)


class CompletionView:
    """Shows a picture, its kept pixels and its draws side by side. Use it in `with`, which closes the screen.

    Without a terminal it only prints a line if the job has to wait.
    """

    def __init__(
        self, console: Console, beside: Sequence[Canvas], draws: Sequence[Canvas], *, title: str, hidden: bool
    ) -> None:
        self.wants_rows = not hidden and shows_pictures(console)
        self._console = console
        self._canvases = [*beside, *draws]
        self._draws = draws
        self._title = title
        self._notice = ""
        self._screen = Screen(console, self._frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._screen.close()

    def show(self, event: JobEvent) -> None:
        """Note the event; the screen follows at its own pace."""
        if isinstance(event, SampleRows):
            self._draws[event.index].add(event.first_row, event.indices)
        self._print_notice(_obstacle(event))
        if self.wants_rows:
            self._screen.refresh()

    def finish(self, images: Sequence[Image]) -> None:
        """Show the finished images."""
        self._canvases = [canvas_of(image) for image in images]
        if self.wants_rows:
            self._screen.refresh(now=True)

    def _print_notice(self, notice: str) -> None:
        if notice and notice != self._notice:
            self._console.print(notice, highlight=False, markup=False, soft_wrap=True)
        self._notice = notice

    def _frame(self) -> RenderableType:
        columns = columns_that_fit(self._canvases[0].width, self._console.width)
        pictures = grid(self._canvases, columns=max(1, columns))
        return Group(Text(self._title), pictures) if self._title else pictures


class Screen:
    """A part of the terminal that is redrawn a few times a second at most."""

    def __init__(self, console: Console, frame: "Frame") -> None:
        self._frame = frame
        self._live = Live(console=console, auto_refresh=False, get_renderable=frame, vertical_overflow="crop")
        self._refreshed = 0.0

    def refresh(self, *, now: bool = False) -> None:
        """Draw the frame, unless the last one is very recent."""
        if not self._live.is_started:
            self._live.start()
        if now or monotonic() - self._refreshed >= _FRAME_SECONDS:
            self._live.refresh()
            self._refreshed = monotonic()

    def close(self) -> None:
        """Draw the last frame and give the terminal back."""
        if self._live.is_started:
            self._live.refresh()
            self._live.stop()


class Frame(Protocol):
    """Makes the present content of a screen."""

    def __call__(self) -> RenderableType: ...


def _obstacle(event: JobEvent) -> str:
    """Why a job waits, in a sentence; '' if it does not."""
    match event:
        case Interrupted():
            return f"{event.message} Trying again."
        case Job() if event.reason in WAITING:
            return f"Waiting: {WAITING[event.reason]}."
        case _:
            return ""
