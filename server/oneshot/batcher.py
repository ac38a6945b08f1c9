"""Gathers one-shot requests for one graph into batches, runs each batch once, and gives each request its part."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from server.errors import log_bug
from server.oneshot.statistics import GraphStatistics, RunTimes
from smalti.errors import BatcherFull, DeadlinePassed, GraphFailed, SmaltiError, Unavailable, WaitedTooLong
from smalti.runtime.batching import Batching
from smalti.runtime.metrics import (
    BATCH_COMPUTE_SECONDS,
    BATCH_ENTRIES,
    BATCH_WAIT_SECONDS,
    BATCH_WAITING_ENTRIES,
)

log = structlog.get_logger()
Arrays = Mapping[str, NDArray[Any]]  # by name of input or output; the first axis counts the entries
Run = Callable[[Arrays], Awaitable[Arrays]]
_RETRY_SECONDS = 0.1  # enough for many runs
_NO_TIMES = RunTimes(0, 0, 0)


@dataclass(eq=False, slots=True, kw_only=True)
class _Waiting:
    """One request, or a part of one that is too large for a single run."""

    inputs: Arrays
    entries: int
    since: float
    deadline: float | None
    latest_start: float | None
    answer: asyncio.Future[Arrays]
    started_ns: int = 0  # its run, by perf_counter_ns
    times: RunTimes = _NO_TIMES


class Batcher:
    """Runs one graph for many requests at once, one run at a time. Make it inside a running event loop.

    A request that finds the graph free runs at once. A run waits for more requests only if the run before it served
    several, so a lone client never pays for the delay. A graph that is not batched has a run for each request, which
    counts as one entry whatever its shapes are.
    """

    def __init__(
        self, run: Run, *, batching: Batching, model: str = "", graph: str = "", is_batched: bool = True
    ) -> None:
        self._run = run
        self._is_batched = is_batched
        self.batching = batching
        self.statistics = GraphStatistics()
        self._name = f"{model}.{graph}"
        self._meters = _Meters(model, graph)
        self._waiting: deque[_Waiting] = deque()
        self._waiting_entries = 0
        self._crowded = False  # the last run served several requests
        self._closed = False
        self._arrived = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._task = asyncio.create_task(self._serve())

    async def ask(
        self,
        inputs: Arrays,
        *,
        deadline: float | None = None,
        priority: int = 0,
        timeout_seconds: float | None = None,
    ) -> Arrays:
        """The graph's outputs for these inputs.

        `deadline` is by the event loop's clock. Raises BatcherFull, WaitedTooLong, DeadlinePassed, GraphFailed or
        InternalError, and Unavailable after close.
        """
        arrived = perf_counter_ns()
        try:
            policy = self.batching.policy(self.batching.level(priority))
            wait = policy.timeout_seconds(timeout_seconds)
            parts = await self._served(inputs, deadline, None if wait is None else self._clock() + wait)
        except BaseException as error:
            self.statistics.add_failure(perf_counter_ns() - arrived, error)
            raise
        self.statistics.add_success(
            self._entries(inputs),
            whole=perf_counter_ns() - arrived,
            queue=min(part.started_ns for part in parts) - arrived,
            times=RunTimes(*map(sum, zip(*(part.times for part in parts), strict=True))),
        )
        return _join([part.answer.result() for part in parts])

    async def _served(
        self, inputs: Arrays, deadline: float | None, latest_start: float | None
    ) -> list[_Waiting]:
        """The answered parts of a request."""
        parts = _split(inputs, self.batching.max_batch_size) if self._is_batched else [inputs]
        self._admit(self._entries(inputs))
        waiting = [self._enqueue(part, deadline, latest_start) for part in parts]
        try:
            await asyncio.gather(*(part.answer for part in waiting))
        finally:
            for part in waiting:
                self._forget(part)
        return waiting

    @property
    def waiting(self) -> int:
        """How many requests, or parts of large ones, wait for a run."""
        return len(self._waiting)

    async def close(self) -> None:
        """Refuse new requests, answer those that wait, then stop."""
        self._closed = True
        self._arrived.set()
        await self._task

    def _admit(self, entries: int) -> None:
        if self._closed:
            raise Unavailable(f"{self._name} is being unloaded.")
        if self._waiting_entries + entries > self.batching.max_queue_size:
            raise BatcherFull(
                f"{self._name} is busy: {self._waiting_entries} of at most {self.batching.max_queue_size} entries "
                f"wait, and {entries} more do not fit.",
                retry_seconds=_RETRY_SECONDS,
            )

    def _enqueue(self, inputs: Arrays, deadline: float | None, latest_start: float | None) -> _Waiting:
        answer: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        part = _Waiting(
            inputs=inputs,
            entries=self._entries(inputs),
            since=self._clock(),
            deadline=deadline,
            latest_start=latest_start,
            answer=answer,
        )
        self._waiting.append(part)
        self._count(part.entries)
        self._arrived.set()
        return part

    def _forget(self, part: _Waiting) -> None:
        """Remove a part that nobody waits for any more, so that it is never run."""
        part.answer.cancel()
        if part in self._waiting:
            self._waiting.remove(part)
            self._count(-part.entries)

    async def _serve(self) -> None:
        while await self._requests_wait():
            await self._wait_for_more()
            if batch := self._take():
                await self._answer(batch)

    async def _requests_wait(self) -> bool:
        """Wait for a request; returns False once the batcher is closed and none is left."""
        while not self._waiting and not self._closed:
            self._arrived.clear()
            await self._arrived.wait()
        return bool(self._waiting)

    async def _wait_for_more(self) -> None:
        """Give other requests time to join the next run, if that is worthwhile."""
        while (left := self._patience()) > 0:
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _patience(self) -> float:
        """How many more seconds to wait for other requests."""
        if (
            not self._crowded
            or self._closed
            or not self._waiting
            or self._waiting_entries >= self.batching.max_batch_size
        ):
            return 0.0
        return self._waiting[0].since + self.batching.delay_seconds - self._clock()

    def _take(self) -> list[_Waiting]:
        """The oldest requests that fit into one run, without those that are no longer wanted."""
        batch: list[_Waiting] = []
        room = self.batching.max_batch_size if self._is_batched else 1
        while self._waiting and self._waiting[0].entries <= room:
            part = self._waiting.popleft()
            self._count(-part.entries)
            if self._is_wanted(part):
                batch.append(part)
                room -= part.entries
        return batch

    def _is_wanted(self, part: _Waiting) -> bool:
        if part.answer.done():  # its client has just gone away
            return False
        if part.deadline is not None and part.deadline <= self._clock():
            part.answer.set_exception(DeadlinePassed("The deadline passed while the request waited."))
            return False
        if part.latest_start is not None and part.latest_start <= self._clock():
            part.answer.set_exception(
                WaitedTooLong(f"The request's timeout passed while it waited for {self._name}.")
            )
            return False
        return True

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        start = self._clock()
        self._crowded = len(batch) > 1
        entries = sum(part.entries for part in batch)
        marks = [perf_counter_ns()]
        try:
            inputs = _join([part.inputs for part in batch])
            marks.append(perf_counter_ns())
            outputs = await self._run(inputs)
            marks.append(perf_counter_ns())
            if self._is_batched:
                _check_entries(outputs, entries)
        except Exception as error:  # noqa: BLE001  # a failed run fails its own requests, and the batcher goes on
            _fail(batch, self._failure(error, entries))
            return
        _hand_out(batch, outputs)
        marks.append(perf_counter_ns())
        self._note(batch, entries, marks)
        self._meters.observe(batch, start, self._clock())

    def _note(self, batch: Sequence[_Waiting], entries: int, marks: Sequence[int]) -> None:
        times = RunTimes(*(marks[step + 1] - marks[step] for step in range(3)))
        self.statistics.add_run(entries, times)
        for part in batch:
            part.started_ns, part.times = marks[0], times

    def _failure(self, error: Exception, entries: int) -> SmaltiError:
        if not isinstance(error, GraphFailed):
            return log_bug(error, graph=self._name, entries=entries)
        log.error("run failed", graph=self._name, entries=entries, exc_info=error)
        return GraphFailed(f"{self._name} failed on a batch of {entries}; the server's log has the cause.")

    def _entries(self, inputs: Arrays) -> int:
        return _count_entries(inputs) if self._is_batched else 1

    def _count(self, entries: int) -> None:
        self._waiting_entries += entries
        self._meters.waiting.set(self._waiting_entries)


class _Meters:
    """The metrics of one graph, looked up only once."""

    def __init__(self, model: str, graph: str) -> None:
        self.waiting = BATCH_WAITING_ENTRIES.labels(model, graph)
        self._wait = BATCH_WAIT_SECONDS.labels(model, graph)
        self._compute = BATCH_COMPUTE_SECONDS.labels(model, graph)
        self._entries = BATCH_ENTRIES.labels(model, graph)

    def observe(self, batch: Sequence[_Waiting], start: float, end: float) -> None:
        self._compute.observe(end - start)
        self._entries.observe(sum(part.entries for part in batch))
        for part in batch:
            self._wait.observe(start - part.since)


def _count_entries(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _split(inputs: Arrays, entries: int) -> list[Arrays]:
    total = _count_entries(inputs)
    if total <= entries:
        return [inputs]
    starts = range(0, total, entries)
    return [{name: value[start : start + entries] for name, value in inputs.items()} for start in starts]


def _join(parts: Sequence[Arrays]) -> Arrays:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_entries(outputs: Arrays, entries: int) -> None:
    for name, value in outputs.items():
        if value.shape[:1] != (entries,):
            raise GraphFailed(f"Output {name} has the shape {value.shape} for a batch of {entries}.")


def _hand_out(batch: Sequence[_Waiting], outputs: Arrays) -> None:
    start = 0
    for part in batch:
        stop = start + part.entries
        if not part.answer.done():
            part.answer.set_result(outputs if len(batch) == 1 else _entries(outputs, start, stop))
        start = stop


def _entries(arrays: Arrays, start: int, stop: int) -> Arrays:
    return {name: value[start:stop] for name, value in arrays.items()}


def _fail(batch: Sequence[_Waiting], error: SmaltiError) -> None:
    for part in batch:
        if not part.answer.done():
            part.answer.set_exception(type(error)(str(error)))  # each request raises its own
