"""Remembers what has arrived of a stream, so that nothing comes twice after a new connection."""

from dataclasses import replace

from smalti.client.values import Interrupted, Job, JobEvent, SampleEnded, SampleRows
from smalti.errors import Busy, Unavailable


class JobProgress:
    """Filters the events of one job over any number of connections.

    Each new connection begins with a snapshot and all rows drawn so far; only what is new passes.
    """

    def __init__(self) -> None:
        self.job: Job | None = None
        self.pixel_bytes = 1
        self._rows: dict[int, int] = {}  # known rows of samples in progress
        self._ended: set[int] = set()
        self._last: JobEvent | None = None

    @property
    def is_over(self) -> bool:
        """Whether the job is known to have ended."""
        return self.job is not None and self.job.is_over

    def news(self, event: JobEvent) -> JobEvent | None:
        """The new part of the event, or None if nothing is new.

        The end of the job is repeated after its last samples, so that it is always the last event.
        """
        news = self._new_part(event)
        self._last = news or self._last
        return news

    def interruption(self, error: Busy | Unavailable, retry_seconds: float) -> Interrupted:
        """The event for a connection that was lost or refused."""
        self._last = Interrupted(message=str(error), retry_seconds=retry_seconds)
        return self._last

    def _new_part(self, event: JobEvent) -> JobEvent | None:
        match event:
            case Job():
                return self._news_of_job(event)
            case SampleRows():
                return self._news_of_rows(event)
            case SampleEnded():
                return self._news_of_end(event)
            case Interrupted():
                return event  # made here, never received

    def _news_of_job(self, job: Job) -> Job | None:
        if job == self.job and (not job.is_over or job == self._last):
            return None
        self.job = job
        return job

    def _news_of_rows(self, rows: SampleRows) -> SampleRows | None:
        assert self.job is not None, "a watch starts with a snapshot of the job"
        row_bytes = self.job.width * self.pixel_bytes
        end = rows.first_row + len(rows.indices) // row_bytes
        known = self._rows.get(rows.index, 0)
        if rows.index in self._ended or end <= known:
            return None
        self._rows[rows.index] = end
        repeated = max(0, known - rows.first_row)
        return replace(
            rows, first_row=rows.first_row + repeated, indices=rows.indices[repeated * row_bytes :]
        )

    def _news_of_end(self, end: SampleEnded) -> SampleEnded | None:
        if end.index in self._ended:
            return None
        self._ended.add(end.index)
        self._rows.pop(end.index, None)
        return end


class ResultsProgress:
    """Which results of a download are still to come: they arrive in the order of their indices."""

    def __init__(self, start: int, limit: int) -> None:
        self.start = start
        self._end = start + limit if limit else None

    @property
    def is_over(self) -> bool:
        """Whether every index that was asked for has been passed."""
        return self._end is not None and self.start >= self._end

    @property
    def limit(self) -> int:
        """How many indices are left; 0 means all."""
        return 0 if self._end is None else self._end - self.start

    def arrived(self, index: int) -> None:
        """The result of this index is here, and with it all before that will come now."""
        self.start = index + 1
