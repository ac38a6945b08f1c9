"""Says how far a job is, in words and as a bar."""

from collections.abc import Iterator
from time import monotonic

from rich.console import OverflowMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from smalti.client import Job

_BAR_WIDTH = 60
WAITING = {  # why a job waits
    "NO_WORKER_FOR_MODEL": "no worker is running that draws this model",
    "MODEL_REPLACED": "its model was exported again, and no worker has the old export: put that back in its place, "
    "or cancel the job and submit it again",
}
REASONS = WAITING | {"DEADLINE_EXCEEDED": "it had not ended at its deadline"}  # why a job waits or failed


class Pace:
    """Measures how fast a job advances while it is watched."""

    def __init__(self, job: Job) -> None:
        self._first = job.done
        self._since = monotonic()

    def samples_per_second(self, job: Job) -> float:
        """Samples done per second since the watch began."""
        seconds = monotonic() - self._since
        return (job.done - self._first) / seconds if seconds > 0 else 0.0

    def seconds_left(self, job: Job) -> float | None:
        """An estimate from the pace so far; None before the first sample."""
        rate = self.samples_per_second(job)
        return (job.count - job.done - job.failed) / rate if rate > 0 else None


def describe(job: Job, pace: Pace) -> str:
    """How far the job is, in words."""
    return ", ".join(_facts(job, pace)) + "."


def progress_lines(job: Job, pace: Pace) -> RenderableType:
    """A bar, and how far the job is in words below it."""
    lines = Table.grid()
    lines.add_row(ProgressBar(total=job.count, completed=job.done, width=_BAR_WIDTH))
    overflow: OverflowMethod = (
        "fold" if job.is_over else "ellipsis"
    )  # the last line stays on the screen, so it is complete
    words = f"{job.state}: {describe(job, pace)}"
    lines.add_row(Text(words, no_wrap=not job.is_over, overflow=overflow))
    return lines


def _facts(job: Job, pace: Pace) -> Iterator[str]:
    yield f"{job.done} of {job.count} samples"
    if job.failed:
        yield f"{job.failed} failed"
    if job.reason:
        yield REASONS.get(job.reason, job.reason)
    if job.running and not job.is_over:
        yield f"{job.running} being drawn"
    if job.reason in WAITING and not job.is_over:
        return  # while nobody draws it, its end cannot be estimated
    if (rate := pace.samples_per_second(job)) > 0:
        yield f"{rate:.1f} samples/s"
    left = pace.seconds_left(job)
    if left is not None and not job.is_over:
        yield f"{left:.0f} s left"
