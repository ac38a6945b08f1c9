"""What the server knows of a watched job, and what of it a watcher has not seen."""

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from smalti.jobs.job import TERMINAL, Job, SampleRows

COMPLETED_AT_ONCE = 256  # if more samples ended at once, nobody looks at their last rows: skip them


@dataclass(frozen=True, slots=True)
class SampleEnd:
    """A sample that ended."""

    index: int
    succeeded: bool


JobEvent = Job | SampleRows | SampleEnd


@dataclass(slots=True)
class Seen:
    """What one watcher has seen. It grows with the samples in progress, not with those that ended."""

    job: Job
    ends: int = 0  # position in the list of ended samples
    rows: dict[int, int] = field(default_factory=dict)  # index of a sample → number of rows sent


class JobView:
    """The present of one job, for all its watchers.

    It holds 4 bytes for each ended sample and, while somebody wants rows, the pixels of the samples in progress that
    WatcherQueue.rows reads and of the last COMPLETED_AT_ONCE ended ones. There is no history: a slow watcher costs
    nothing, and goes on with the present.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.changes = 0  # of the job and its ends, so far
        self.row_changes = 0
        self._ends = array("I")  # 2 · index + (1 if it succeeded)
        self._rows: dict[int, bytes] = {}  # of samples in progress
        self._complete: dict[int, bytes] = {}  # of samples that ended last
        self._completed = 0  # position in _ends up to which their pixels were read or skipped

    @property
    def ended(self) -> int:
        """How many ended samples it knows."""
        return len(self._ends)

    @property
    def has_begun(self) -> bool:
        """Whether it knows rows or ends."""
        return bool(self._rows or self._ends)

    @property
    def row_counts(self) -> Mapping[int, int]:
        """How many rows it knows of each sample in progress."""
        row_bytes = self.job.request.row_bytes
        return {index: len(pixels) // row_bytes for index, pixels in self._rows.items()}

    def incomplete(self, ends: Collection[SampleEnd]) -> list[int]:
        """The samples whose last rows have to be read, if these ended now."""
        if self.ended + len(ends) - self._completed > COMPLETED_AT_ONCE:
            return []
        earlier = (_end(number) for number in self._ends[self._completed :])
        return [end.index for end in (*earlier, *ends) if end.succeeded]

    def set_job(self, job: Job) -> None:
        """The job as it is now. If it has ended, all its ends and last rows must be here already."""
        self.changes += job != self.job
        self.job = job
        if job.state in TERMINAL:
            self._rows.clear()

    def add_ends(self, ends: Iterable[SampleEnd]) -> None:
        """Samples that ended, in the order of their ends."""
        for end in ends:
            self._ends.append(2 * end.index + end.succeeded)
            self._rows.pop(end.index, None)
            self.changes += 1

    def add_complete(self, images: Mapping[int, bytes]) -> None:
        """The pixels of the samples that `incomplete` named, all of which are known as ended by now."""
        self._complete |= images
        for index in list(self._complete)[:-COMPLETED_AT_ONCE]:
            del self._complete[index]
        self._completed = self.ended

    def add_rows(self, rows: Iterable[SampleRows]) -> None:
        """New rows of samples in progress, each after those of `row_counts`."""
        for new in rows:
            self._rows[new.index] = self._rows.get(new.index, b"") + new.pixels
            self.row_changes += 1

    def forget_rows(self) -> None:
        """Nobody wants rows."""
        self._rows.clear()
        self._complete.clear()
        self._completed = 0

    def unseen(self, seen: Seen, *, rows: bool) -> Iterator[JobEvent]:
        """What a watcher has not seen; `seen` moves on with each event, and the view may change in between.

        Rows and ends of samples come first, then the job if it has changed or ended.
        """
        job = self.job
        yield from self._unseen_ends(seen, rows)
        if rows:
            yield from self._unseen_rows(seen)
        has_changed = job != seen.job
        seen.job = job
        if has_changed or job.state in TERMINAL:
            yield job

    def _unseen_ends(self, seen: Seen, rows: bool) -> Iterator[JobEvent]:
        stop = self.ended
        rows = rows and stop - seen.ends <= COMPLETED_AT_ONCE
        while seen.ends < stop:
            end = _end(self._ends[seen.ends])
            if rows and end.succeeded:
                yield from self._missing(end.index, self._complete.get(end.index, b""), seen)
            seen.ends += 1
            seen.rows.pop(end.index, None)
            yield end

    def _unseen_rows(self, seen: Seen) -> Iterator[SampleRows]:
        for index in sorted(self._rows):
            yield from self._missing(index, self._rows.get(index, b""), seen)

    def _missing(self, index: int, pixels: bytes, seen: Seen) -> Iterator[SampleRows]:
        row_bytes = self.job.request.row_bytes
        first_row = seen.rows.get(index, 0)
        missing = pixels[first_row * row_bytes :]
        if missing:
            seen.rows[index] = first_row + len(missing) // row_bytes
            yield SampleRows(index=index, first_row=first_row, pixels=missing)


def _end(number: int) -> SampleEnd:
    return SampleEnd(index=number >> 1, succeeded=bool(number & 1))
