"""Makes the runs of one graph: joins requests, runs, gives each its part of the outputs, and measures all that."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic_ns
from typing import Protocol

import numpy as np
import structlog

from server.errors import log_bug
from server.oneshot.statistics import GraphStatistics, RunTimes
from server.oneshot.waiting import Arrays, Part
from smalti.errors import GraphFailed, SmaltiError
from smalti.runtime.metrics import (
    BATCH_COMPUTE_SECONDS,
    BATCH_ENTRIES,
    BATCH_WAIT_SECONDS,
)
from smalti.runtime.names import protocol_name

log = structlog.get_logger()


class RunsGraph(Protocol):
    """One graph, ready to run. Both ways to run it raise GraphFailed."""

    async def __call__(self, inputs: Arrays) -> Arrays:
        """The outputs by name, computed outside the event loop."""

    def run_here(self, inputs: Arrays) -> Arrays:
        """The outputs by name, computed in this thread."""

    def is_quick(self, entries: int) -> bool:
        """Whether a run of so many entries is too short to be worth another thread."""


class Running:
    """Runs one graph for one batch after another. `is_batched`: its tensors have a first axis for the batch."""

    def __init__(self, runner: RunsGraph, *, model: str, graph: str, is_batched: bool) -> None:
        self._runner = runner
        self._name = protocol_name(model, graph)
        self._is_batched = is_batched
        self._meters = _Meters(model, graph)
        self.statistics = GraphStatistics()
        self.is_quick = runner.is_quick

    async def answer(self, batch: Sequence[Part]) -> None:
        """Run the graph for these parts, outside the event loop; never raises."""
        with self._failing(batch):
            start, inputs = monotonic_ns(), join([part.inputs for part in batch])
            joined = monotonic_ns()
            self._hand_out(batch, await self._runner(inputs), start, joined)

    def answer_here(self, batch: Sequence[Part]) -> None:
        """Run the graph for these parts in this thread; never raises."""
        with self._failing(batch):
            start, inputs = monotonic_ns(), join([part.inputs for part in batch])
            joined = monotonic_ns()
            self._hand_out(batch, self._runner.run_here(inputs), start, joined)

    def run_alone(self, inputs: Arrays, entries: int, arrived_ns: int) -> Arrays:
        """Run the graph for one request in this thread; raises GraphFailed or InternalError."""
        start = monotonic_ns()
        try:
            outputs = self._runner.run_here(inputs)
            self._check(outputs, entries)
        except Exception as error:
            raise self._failure(error, entries) from error
        end = monotonic_ns()
        times = RunTimes(0, end - start, 0)
        self._meters.observe(entries, end - start, [start - arrived_ns])
        self.statistics.add_run(entries, times)
        self.statistics.add_success(entries, whole=end - arrived_ns, queue=start - arrived_ns, times=times)
        return outputs

    @contextmanager
    def _failing(self, batch: Sequence[Part]) -> Iterator[None]:
        """A failed run fails its own requests, and others go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # the edge of a run: each of its requests raises the error
            failure = self._failure(error, sum(part.entries for part in batch))
            for part in batch:
                if not part.answer.done():
                    part.answer.set_exception(type(failure)(str(failure)))  # each request raises its own

    def _hand_out(self, batch: Sequence[Part], outputs: Arrays, start: int, joined: int) -> None:
        ran, entries = monotonic_ns(), sum(part.entries for part in batch)
        self._check(outputs, entries)
        answers = _divide(outputs, batch)
        times = RunTimes(joined - start, ran - joined, monotonic_ns() - ran)
        self.statistics.add_run(entries, times)
        self._meters.observe(entries, ran - joined, [start - part.since_ns for part in batch])
        for part, answer in zip(batch, answers, strict=True):
            part.started_ns, part.times = start, times
            if not part.answer.done():
                part.answer.set_result(answer)

    def _check(self, outputs: Arrays, entries: int) -> None:
        """Outputs of another length would give a request the entries of others."""
        for name, value in outputs.items():
            if self._is_batched and value.shape[:1] != (entries,):
                raise GraphFailed(f"Output {name} has the shape {value.shape} for a batch of {entries}.")

    def _failure(self, error: Exception, entries: int) -> SmaltiError:
        if not isinstance(error, GraphFailed):
            return log_bug(error, graph=self._name, entries=entries)
        log.error("run failed", graph=self._name, entries=entries, exc_info=error)
        return GraphFailed(f"{self._name} failed on a batch of {entries}; the server's log has the cause.")


class _Meters:
    """The metrics of one graph, looked up only once."""

    def __init__(self, model: str, graph: str) -> None:
        self._wait = BATCH_WAIT_SECONDS.labels(model, graph)
        self._compute = BATCH_COMPUTE_SECONDS.labels(model, graph)
        self._entries = BATCH_ENTRIES.labels(model, graph)

    def observe(self, entries: int, compute_ns: int, waits_ns: Sequence[int]) -> None:
        self._compute.observe(compute_ns / 1e9)
        self._entries.observe(entries)
        for wait in waits_ns:
            self._wait.observe(wait / 1e9)


def _divide(outputs: Arrays, batch: Sequence[Part]) -> Sequence[Arrays]:
    """The outputs of each part."""
    if len(batch) == 1:
        return [outputs]
    answers, start = [], 0
    for part in batch:
        stop = start + part.entries
        answers.append({name: value[start:stop] for name, value in outputs.items()})
        start = stop
    return answers


def join(parts: Sequence[Arrays]) -> Arrays:
    """The entries of all parts in one."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
