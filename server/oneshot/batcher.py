"""Gathers one-shot requests for one graph into batches: waits a moment, runs them together, gives each its own rows."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from smalti.errors import BatcherFull, DeadlinePassed, GraphFailed, Unavailable
from smalti.runtime.metrics import BATCH_COMPUTE_SECONDS, BATCH_ROWS, BATCH_WAIT_SECONDS, BATCH_WAITING_ROWS

log = structlog.get_logger()
Arrays = Mapping[str, NDArray[Any]]  # by name of input or output; the first axis is the rows
Run = Callable[[Arrays], Awaitable[Arrays]]
_RETRY_SECONDS = 0.1  # many runs later


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How large a batch may become, and how long and how many may wait for one."""

    rows: int = 64
    delay_seconds: float = 0.002
    waiting_rows: int = 1024


@dataclass(eq=False, slots=True, kw_only=True)
class _Waiting:
    """One request, or the part of a large one that fits into a run."""

    inputs: Arrays
    rows: int
    since: float
    deadline: float | None
    answer: asyncio.Future[Arrays]


class Batcher:
    """Asks one graph for many requests at once. Must be made where an event loop runs; one run at a time.

    A request that finds the graph free is run at once; only where the last run served several is the delay spent on
    waiting for more, so that a lone client never pays for it.
    """

    def __init__(self, run: Run, *, limits: BatchLimits, model: str = "", graph: str = "") -> None:
        self._run = run
        self._limits = limits
        self._name = f"{model}.{graph}"
        self._meters = _Meters(model, graph)
        self._waiting: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self._crowded = False  # the last run served several requests
        self._closed = False
        self._arrived = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._task = asyncio.create_task(self._serve())

    async def ask(self, inputs: Arrays, *, deadline: float | None = None) -> Arrays:
        """The graph's outputs for these rows, and only for these.

        `deadline` is by the event loop's clock. Raises BatcherFull, DeadlinePassed, GraphFailed, and Unavailable
        after close.
        """
        parts = _split(inputs, self._limits.rows)
        self._admit(_rows(inputs))
        waiting = [self._enqueue(part, deadline) for part in parts]
        try:
            answers = await asyncio.gather(*(part.answer for part in waiting))
        finally:
            for part in waiting:
                self._forget(part)
        return _join(answers)

    async def close(self) -> None:
        """Take no more requests, answer those that wait, stop."""
        self._closed = True
        self._arrived.set()
        await self._task

    def _admit(self, rows: int) -> None:
        if self._closed:
            raise Unavailable(f"{self._name} is being unloaded.")
        if self._waiting_rows + rows > self._limits.waiting_rows:
            raise BatcherFull(
                f"{self._name} is busy: {self._waiting_rows} of at most {self._limits.waiting_rows} rows wait, "
                f"and {rows} more do not fit.",
                retry_seconds=_RETRY_SECONDS,
            )

    def _enqueue(self, inputs: Arrays, deadline: float | None) -> _Waiting:
        answer: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        part = _Waiting(
            inputs=inputs, rows=_rows(inputs), since=self._clock(), deadline=deadline, answer=answer
        )
        self._waiting.append(part)
        self._count(part.rows)
        self._arrived.set()
        return part

    def _forget(self, part: _Waiting) -> None:
        """Take out what nobody waits for any more, before it costs a run."""
        part.answer.cancel()
        if part in self._waiting:
            self._waiting.remove(part)
            self._count(-part.rows)

    async def _serve(self) -> None:
        while await self._something_waits():
            await self._linger()
            if batch := self._take():
                await self._answer(batch)

    async def _something_waits(self) -> bool:
        while not self._waiting and not self._closed:
            self._arrived.clear()
            await self._arrived.wait()
        return bool(self._waiting)

    async def _linger(self) -> None:
        while (left := self._patience()) > 0:
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _patience(self) -> float:
        """Seconds for which waiting for more rows may still pay."""
        if not self._crowded or self._closed or not self._waiting or self._waiting_rows >= self._limits.rows:
            return 0.0
        return self._waiting[0].since + self._limits.delay_seconds - self._clock()

    def _take(self) -> list[_Waiting]:
        """The oldest requests that fit into one run, without those whose time is over."""
        batch: list[_Waiting] = []
        room = self._limits.rows
        while self._waiting and self._waiting[0].rows <= room:
            part = self._waiting.popleft()
            self._count(-part.rows)
            if self._is_wanted(part):
                batch.append(part)
                room -= part.rows
        return batch

    def _is_wanted(self, part: _Waiting) -> bool:
        if part.answer.done():  # its client went away in this very moment
            return False
        if part.deadline is not None and part.deadline <= self._clock():
            part.answer.set_exception(DeadlinePassed("The deadline passed while the request waited."))
            return False
        return True

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        start = self._clock()
        self._crowded = len(batch) > 1
        rows = sum(part.rows for part in batch)
        try:
            outputs = await self._run(_join([part.inputs for part in batch]))
            _check_rows(outputs, rows)
        except Exception as error:  # whatever a run does, it ends these requests only, never the batcher
            log.error("run failed", graph=self._name, rows=rows, exc_info=error)
            _fail(batch, f"{self._name} failed on a batch of {rows}; the server's log has the cause.")
            return
        _hand_out(batch, outputs)
        self._meters.observe(batch, start, self._clock())

    def _count(self, rows: int) -> None:
        self._waiting_rows += rows
        self._meters.waiting.set(self._waiting_rows)


class _Meters:
    """The metrics of one graph, looked up once."""

    def __init__(self, model: str, graph: str) -> None:
        self.waiting = BATCH_WAITING_ROWS.labels(model, graph)
        self._wait = BATCH_WAIT_SECONDS.labels(model, graph)
        self._compute = BATCH_COMPUTE_SECONDS.labels(model, graph)
        self._rows = BATCH_ROWS.labels(model, graph)

    def observe(self, batch: Sequence[_Waiting], start: float, end: float) -> None:
        self._compute.observe(end - start)
        self._rows.observe(sum(part.rows for part in batch))
        for part in batch:
            self._wait.observe(start - part.since)


def _rows(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _split(inputs: Arrays, rows: int) -> list[Arrays]:
    total = _rows(inputs)
    if total <= rows:
        return [inputs]
    starts = range(0, total, rows)
    return [{name: value[start : start + rows] for name, value in inputs.items()} for start in starts]


def _join(parts: Sequence[Arrays]) -> Arrays:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _check_rows(outputs: Arrays, rows: int) -> None:
    for name, value in outputs.items():
        if len(value) != rows:
            raise GraphFailed(f"Output {name} has {len(value)} rows for a batch of {rows}.")


def _hand_out(batch: Sequence[_Waiting], outputs: Arrays) -> None:
    start = 0
    for part in batch:
        stop = start + part.rows
        if not part.answer.done():
            part.answer.set_result({name: value[start:stop] for name, value in outputs.items()})
        start = stop


def _fail(batch: Sequence[_Waiting], message: str) -> None:
    for part in batch:
        if not part.answer.done():
            part.answer.set_exception(GraphFailed(message))
