"""What a graph has done since it was loaded: counts and times, as the Open Inference Protocol reports them."""

from asyncio import CancelledError
from dataclasses import dataclass, field, fields
from time import time
from typing import Literal, NamedTuple

from smalti.errors import Busy, DeadlinePassed, GraphFailed, WaitedTooLong

FailureReason = Literal["REJECTED", "CANCELED", "BACKEND", "OTHER"]


class RunTimes(NamedTuple):
    """Nanoseconds of one run, or of several together: joining the requests, the run itself, dividing its outputs."""

    compute_input: int
    compute_infer: int
    compute_output: int


@dataclass(slots=True)
class Duration:
    """How often something was done, and how long it took in all."""

    count: int = 0
    nanoseconds: int = 0

    def add(self, nanoseconds: int, count: int = 1) -> None:
        """It was done `count` more times, in so many nanoseconds together."""
        self.count += count
        self.nanoseconds += nanoseconds

    def join(self, other: "Duration") -> None:
        """Add what another process has counted."""
        self.add(other.nanoseconds, other.count)


@dataclass(slots=True)
class RunStatistics:
    """The runs of one batch size: joining the requests, the run itself, dividing its outputs."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)

    def add(self, times: RunTimes) -> None:
        """One more run."""
        self.compute_input.add(times.compute_input)
        self.compute_infer.add(times.compute_infer)
        self.compute_output.add(times.compute_output)

    def join(self, other: "RunStatistics") -> None:
        """Add what another process has counted."""
        self.compute_input.join(other.compute_input)
        self.compute_infer.join(other.compute_infer)
        self.compute_output.join(other.compute_output)


@dataclass(slots=True)
class GraphStatistics:
    """One graph of one version. A request waits (queue), then shares a run with others.

    Each time of a run counts once for every request in it, as in Triton; `batches` counts runs, by their entries. A
    request counts once, however many runs it needs. One that was refused, given up or not answered is in `fail` only.
    """

    inference_count: int = 0  # entries of answered requests
    execution_count: int = 0  # runs
    last_inference_ms: int = 0  # since 1970
    success: Duration = field(default_factory=Duration)  # requests, from their arrival to their answer
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    batches: dict[int, RunStatistics] = field(default_factory=dict)
    failures: dict[FailureReason, int] = field(default_factory=dict)  # requests in `fail`
    responses: dict[int, Duration] = field(
        default_factory=dict
    )  # of a decoupled model, by their place in the answer

    def add_run(self, entries: int, times: RunTimes) -> None:
        """One more run, of so many entries."""
        self.execution_count += 1
        self.batches.setdefault(entries, RunStatistics()).add(times)

    def add_success(self, entries: int, *, whole: int, queue: int, times: RunTimes) -> None:
        """One more answered request: nanoseconds as a whole, waiting, and in its runs."""
        self.inference_count += entries
        self.last_inference_ms = int(time() * 1000)
        self.success.add(whole)
        self.queue.add(queue)
        self.compute_input.add(times.compute_input)
        self.compute_infer.add(times.compute_infer)
        self.compute_output.add(times.compute_output)

    def add_failure(self, nanoseconds: int, cause: BaseException) -> None:
        """One more request without an answer."""
        self.fail.add(nanoseconds)
        reason = reason_of(cause)
        self.failures[reason] = self.failures.get(reason, 0) + 1

    def add_response(self, place: int, nanoseconds: int) -> None:
        """One more response of several, so long after the one before it."""
        self.responses.setdefault(place, Duration()).add(nanoseconds)

    def join(self, other: "GraphStatistics") -> None:
        """Add what another process has counted."""
        self.inference_count += other.inference_count
        self.execution_count += other.execution_count
        self.last_inference_ms = max(self.last_inference_ms, other.last_inference_ms)
        for name in _DURATIONS:
            getattr(self, name).join(getattr(other, name))
        for entries, runs in other.batches.items():
            self.batches.setdefault(entries, RunStatistics()).join(runs)
        for reason, count in other.failures.items():
            self.failures[reason] = self.failures.get(reason, 0) + count
        for place, duration in other.responses.items():
            self.responses.setdefault(place, Duration()).join(duration)


_DURATIONS = tuple(each.name for each in fields(GraphStatistics) if each.type is Duration)


def reason_of(cause: BaseException) -> FailureReason:
    """The kind of failure, in Triton's words."""
    return next((reason for kinds, reason in _REASONS if isinstance(cause, kinds)), "OTHER")


_REASONS: tuple[tuple[tuple[type[BaseException], ...], FailureReason], ...] = (
    ((Busy, WaitedTooLong, DeadlinePassed), "REJECTED"),  # it never ran
    ((CancelledError, GeneratorExit), "CANCELED"),
    ((GraphFailed,), "BACKEND"),
)
