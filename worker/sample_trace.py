"""The spans of one sample, from its claim until Redis knows its end, under the span of its job's submit."""

from smalti.jobs.job import Claim
from smalti.runtime import tracing
from smalti.runtime.spans import NO_SPAN, Attributes, Span


class SampleTrace:
    """`queue` until the claim; then `sample`, in which `rows` draws all its rows and `commit` stores the last ones."""

    def __init__(self, claim: Claim) -> None:
        self._attributes: Attributes = {
            "smalti.job": claim.job,
            "smalti.sample": claim.index,
            "smalti.model": claim.request.model,
            "smalti.version": claim.request.version,
        }
        if not claim.pixels:  # else it was claimed before
            self._start("queue", claim.origin.traceparent, seconds_ago=claim.queued_seconds).end()
        self._sample = self._start("sample", claim.origin.traceparent)
        self._sample.set({"smalti.resumed": bool(claim.pixels)})
        self._rows = NO_SPAN
        self._drawn = self._commits = 0

    def begun(self) -> None:
        """A row is about to be drawn."""
        if self._rows is NO_SPAN and not self._drawn:
            self._rows = self._start("rows", self._sample.traceparent)

    def drawn(self, *, is_last: bool) -> None:
        """A row was drawn."""
        self._drawn += 1
        if self._drawn == 1:
            self._rows.event("first row")
        if is_last:
            self._end_rows()

    def committed(self) -> None:
        """Redis has answered a commit of new rows."""
        self._commits += 1
        if self._commits == 1:
            self._sample.event("first commit")

    def ended(self, outcome: str, *, failed: bool = False, commit_seconds: float | None = None) -> None:
        """It is no longer held; `commit_seconds` is how long Redis took to learn its end, if it did."""
        self._end_rows()
        if commit_seconds is not None:
            self._start("commit", self._sample.traceparent, seconds_ago=commit_seconds).end()
        self._sample.set({"smalti.outcome": outcome, "smalti.commits": self._commits})
        if failed:
            self._sample.fail()
        self._sample.end()
        self._sample = NO_SPAN  # a row or a reply may still be on its way

    def _end_rows(self) -> None:
        self._rows.set({"smalti.rows": self._drawn})
        self._rows.end()
        self._rows = NO_SPAN

    def _start(self, name: str, parent: str, *, seconds_ago: float = 0.0) -> Span:
        return tracing.start(name, parent=parent, attributes=self._attributes, seconds_ago=seconds_ago)


def trace_of(claim: Claim) -> SampleTrace | None:
    """The spans of a claimed sample; None if this process does not trace, or its job has no trace."""
    return SampleTrace(claim) if tracing.is_on() and claim.origin.traceparent else None
