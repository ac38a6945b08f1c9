"""Shows the progress of a training, an export or an evaluation: a bar in a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from training.checkpoint import Point

LINE_SECONDS = 10.0  # between two plain lines, at least
SMOOTHING = 0.05  # weight of the newest step in the figure that is shown


class Display:
    """A progress bar with the figures and the time left; without a terminal, a line now and then."""

    def __init__(self, console: Console, *, unit: str, steps: int, done: int) -> None:
        self.console, self.unit, self.steps, self.done = console, unit, steps, done
        self.smoothed: float | None = None
        self.best: float | None = None
        self.started = self.last_line = time.monotonic()
        self.first = done
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.bar_id = self.bar.add_task("training", total=steps, completed=done)

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def stepped(self, step: int, figure: float) -> None:
        """Move the bar."""
        self.done = step
        before = figure if self.smoothed is None else self.smoothed
        self.smoothed = (1 - SMOOTHING) * before + SMOOTHING * figure
        self.bar.update(
            self.bar_id, completed=step, description=f"train {self.smoothed:.1f}{self._best()} {self.unit}"
        )

    def validated(self, point: Point, *, better: bool) -> None:
        """Remember the best figure, and print a line if there is no bar."""
        if better:
            self.best = point.valid
        now = time.monotonic()
        if not self.console.is_terminal and (now - self.last_line > LINE_SECONDS or point.step == self.steps):
            self.last_line = now
            self.console.print(self._line(point, now), soft_wrap=True)

    def _line(self, point: Point, now: float) -> str:
        valid = (
            ""
            if point.valid is None
            else f", valid {point.valid:.1f}{' (best)' if point.valid == self.best else ''}"
        )
        rest = (now - self.started) / max(point.step - self.first, 1) * (self.steps - point.step)
        return f"step {point.step}/{self.steps}: train {point.train:.1f}{valid} {self.unit}, {_duration(rest)} left"

    def _best(self) -> str:
        return "" if self.best is None else f", best valid {self.best:.1f}"


Say = Callable[[str], None]


def quiet(message: str) -> None:
    """Ignore the message."""


class Stages:
    """Names each stage on standard error: on one line with the time in a terminal, on plain lines elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.started = time.monotonic()
        self.bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), console=self.console,
            disable=not self.console.is_terminal, transient=True,
        )  # fmt: skip
        self.bar_id = self.bar.add_task("", total=None)

    def __enter__(self) -> "Stages":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def say(self, message: str) -> None:
        """Name the stage that begins now."""
        self.bar.reset(self.bar_id, description=message)
        if not self.console.is_terminal:
            self.console.print(f"[{_duration(time.monotonic() - self.started)}] {message}", markup=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
