"""What a graph has done since it was loaded: counts and times, as the Open Inference Protocol reports them."""

from dataclasses import dataclass, field


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


@dataclass(slots=True)
class GraphStatistics:
    """One graph of one version. A request waits (queue), then shares a run with others.

    Each time of a run counts once for every request in it, as in Triton; `batches` counts runs, by their entries.
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
