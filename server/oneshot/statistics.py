"""What a graph has done since it was loaded: counts and times, as the Open Inference Protocol reports them."""

from dataclasses import dataclass, field
from time import time
from typing import NamedTuple


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

    def add_failure(self, nanoseconds: int) -> None:
        """One more request without an answer."""
        self.fail.add(nanoseconds)
