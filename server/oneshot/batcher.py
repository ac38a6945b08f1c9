"""Answers the one-shot requests for one graph: each waits, shares a run with others, and gets its own outputs."""

import asyncio
from collections.abc import Sequence
from contextvars import copy_context
from time import monotonic_ns

from server.oneshot.policy import choose, patience_ns
from server.oneshot.running import Running, RunsGraph, join
from server.oneshot.statistics import GraphStatistics, RunTimes
from server.oneshot.waiting import Arrays, Part, Waiting, form_of
from smalti.errors import BatcherFull, DeadlinePassed, InvalidRequest, Unavailable, WaitedTooLong
from smalti.runtime import tracing
from smalti.runtime.batching import Batching, QueuePolicy
from smalti.runtime.names import protocol_name

_RETRY_SECONDS = 0.1  # enough for many runs


class Batcher:
    """Lets requests for one graph share its runs. Make it inside a running event loop.

    A request that finds the graph free runs at once. A run waits for more requests only until there are as many as
    the run before it served, and no longer than the delay: a lone client pays for it once at most, after a crowd. A
    graph that is not batched has a run for each request, which counts as one entry whatever its shapes are. Quick runs
    are made on the event loop, one in a turn of the loop, so that other work goes on between them.
    """

    def __init__(
        self,
        runner: RunsGraph,
        *,
        batching: Batching,
        model: str = "",
        graph: str = "",
        is_batched: bool = True,
    ) -> None:
        self._batching = batching
        self._is_batched = is_batched
        self._name = protocol_name(model, graph)
        self._running = Running(runner, model=model, graph=graph, is_batched=is_batched)
        self._waiting = Waiting()
        self._runs: dict[asyncio.Task[None], Sequence[Part]] = {}  # outside the event loop
        self._crowd = 1  # requests that the last run served
        self._has_run_quickly = False  # in this turn of the event loop
        self._is_closed = False
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()  # runs serve several RPCs, so they log none of their ids
        self._soon: asyncio.Handle | None = None  # the next call of _start_runs
        self._later: asyncio.TimerHandle | None = None

    @property
    def batching(self) -> Batching:
        """The knobs in force. Other ones count from now on, for the requests that wait, too."""
        return self._batching

    @batching.setter
    def batching(self, batching: Batching) -> None:
        self._batching = batching
        self._start_soon()

    @property
    def statistics(self) -> GraphStatistics:
        """What the graph has done since it was loaded."""
        return self._running.statistics

    async def ask(
        self,
        inputs: Arrays,
        *,
        deadline: float | None = None,
        priority: int = 0,
        timeout_seconds: float | None = None,
    ) -> Arrays:
        """The graph's outputs for these inputs.

        `deadline` is by the event loop's clock. Raises InvalidRequest, BatcherFull, WaitedTooLong, DeadlinePassed,
        GraphFailed or InternalError, and Unavailable after close.
        """
        arrived = monotonic_ns()
        entries = _count_entries(inputs) if self._is_batched else 1
        level = self._batching.level(priority)
        self._refuse_impossible(entries, level)
        deadline_ns = None if deadline is None else deadline * 1e9
        try:
            if self._may_run_at_once(entries, deadline_ns):
                return self._run_at_once(inputs, entries, arrived)
            self._admit(entries, level)
            parts = [self._part(piece, level, deadline_ns, arrived) for piece in self._split(inputs, entries)]
            await self._wait(parts, level, timeout_seconds)
        except BaseException as error:
            self.statistics.add_failure(monotonic_ns() - arrived, error)
            raise
        self._note_success(parts, entries, arrived)
        return join([part.answer.result() for part in parts])

    @property
    def waiting(self) -> int:
        """How many requests, or parts of large ones, wait for a run."""
        return len(self._waiting)

    async def close(self) -> None:
        """Refuse new requests, answer those that wait, then stop."""
        self._is_closed = True
        while self._waiting or self._runs:
            self._start_runs()
            await (asyncio.wait(self._runs) if self._runs else asyncio.sleep(0))
        self._stop_timers()

    @property
    def _most(self) -> int:
        """The most entries in one run."""
        return self._batching.max_batch_size if self._is_batched else 1

    def _refuse_impossible(self, entries: int, level: int) -> None:
        if not entries:
            raise InvalidRequest(f"A request for {self._name} needs at least one entry.")
        most = self._most_waiting(level)
        if entries > most:
            raise InvalidRequest(
                f"The request has {entries} entries, but at most {most} may wait for {self._name}: send it in parts."
            )

    def _most_waiting(self, level: int) -> int:
        return min(self._batching.max_queue_size, self._batching.policy(level).max_queue_size)

    def _may_run_at_once(self, entries: int, deadline_ns: float | None) -> bool:
        """Whether the graph is free, nobody else wants it, and the run is quick."""
        return (
            self._crowd == 1
            and not self._has_run_quickly
            and not self._waiting
            and not self._runs
            and not self._is_closed
            and entries <= self._most
            and self._running.is_quick(entries)
            and (deadline_ns is None or deadline_ns > monotonic_ns())
        )

    def _run_at_once(self, inputs: Arrays, entries: int, arrived: int) -> Arrays:
        self._note_quick_run()
        outputs = self._running.run_alone(inputs, entries, arrived)
        self._trace(entries, arrived, arrived, monotonic_ns())
        return outputs

    def _note_quick_run(self) -> None:
        """Requests that come in this turn of the loop wait for the next one: they may share a run."""
        self._has_run_quickly = True
        self._start_soon()

    def _admit(self, entries: int, level: int) -> None:
        if self._is_closed:
            raise Unavailable(f"{self._name} is being unloaded.")
        most, policy = self._batching.max_queue_size, self._batching.policy(level)
        if policy is not self._batching:
            self._refuse_surplus(entries, self._waiting.entries_of(level), policy.max_queue_size)
        self._refuse_surplus(entries, self._waiting.entries, most)

    def _refuse_surplus(self, entries: int, waiting: int, most: int) -> None:
        if waiting + entries > most:
            raise BatcherFull(
                f"{self._name} is busy: {waiting} of at most {most} entries wait, and {entries} more do not fit.",
                retry_seconds=_RETRY_SECONDS,
            )

    def _split(self, inputs: Arrays, entries: int) -> list[Arrays]:
        """The request in pieces that fit into a run."""
        if entries <= self._most:
            return [inputs]
        starts = range(0, entries, self._most)
        return [
            {name: value[start : start + self._most] for name, value in inputs.items()} for start in starts
        ]

    def _part(self, inputs: Arrays, level: int, deadline_ns: float | None, arrived: int) -> Part:
        return Part(
            inputs=inputs,
            entries=_count_entries(inputs) if self._is_batched else 1,
            form=form_of(inputs),
            level=level,
            deadline_ns=deadline_ns,
            since_ns=arrived,
            answer=self._loop.create_future(),
        )

    async def _wait(self, parts: Sequence[Part], level: int, timeout_seconds: float | None) -> None:
        """Let the parts wait for their runs until all are answered; when one fails, the others wait no more."""
        policy = self._batching.policy(level)
        timeout = policy.timeout_seconds(timeout_seconds)
        timer = None if timeout is None else self._loop.call_later(timeout, self._expire, parts, policy)
        for part in parts:
            self._waiting.add(part)
        self._start_soon()
        try:
            await (parts[0].answer if len(parts) == 1 else asyncio.gather(*(part.answer for part in parts)))
        finally:
            if timer:
                timer.cancel()
            self._forget(parts)

    def _forget(self, parts: Sequence[Part]) -> None:
        """Remove parts that nobody waits for any more, so that they are never run."""
        for part in parts:
            part.answer.cancel()
            self._waiting.remove(part)
        if any(part.answer.cancelled() for part in parts):
            self._end_unwanted_runs()

    def _end_unwanted_runs(self) -> None:
        """End the runs whose requests have all gone away: a graph may run for ever."""
        for run, batch in self._runs.items():
            if not run.cancelling() and all(part.answer.cancelled() for part in batch):
                run.cancel()

    def _expire(self, parts: Sequence[Part], policy: QueuePolicy) -> None:
        """The timeout of a request has passed; what already runs goes on."""
        for part in parts:
            if policy.timeout_action == "delay":
                self._waiting.delay(part)
            elif self._waiting.remove(part):
                _refuse(
                    part, WaitedTooLong(f"The request's timeout passed while it waited for {self._name}.")
                )

    def _start_soon(self) -> None:
        """Look for runs to start in the next turn of the loop: requests of the same turn may share one."""
        if self._soon is None:
            self._soon = self._loop.call_soon(self._next_turn, context=self._context)

    def _next_turn(self) -> None:
        self._soon, self._has_run_quickly = None, False
        self._start_runs()

    def _start_runs(self) -> None:
        """Start the runs that can and should begin now."""
        while self._waiting and len(self._runs) < self._batching.instances:
            choice = choose(self._waiting, self._batching, most=self._most, crowd=self._crowd)
            wait = 0 if self._is_closed else patience_ns(choice, self._batching, monotonic_ns())
            if wait:
                self._start_later(wait / 1e9)
                return
            if batch := self._take(choice.parts):
                self._crowd = len(batch)
                if self._running.is_quick(sum(part.entries for part in batch)):
                    self._note_quick_run()
                    self._running.answer_here(batch)
                    return
                self._run_elsewhere(batch)

    def _start_later(self, seconds: float) -> None:
        self._stop_timers()
        self._later = self._loop.call_later(seconds, self._start_runs, context=self._context)

    def _stop_timers(self) -> None:
        if self._later:
            self._later.cancel()

    def _take(self, parts: Sequence[Part]) -> list[Part]:
        """The parts for a run, without those that nobody wants any more."""
        for part in parts:
            self._waiting.remove(part)
        return [part for part in parts if _is_wanted(part)]

    def _run_elsewhere(self, batch: Sequence[Part]) -> None:
        run = self._loop.create_task(self._running.answer(batch), context=self._context)
        self._runs[run] = batch
        run.add_done_callback(self._run_ended, context=self._context)

    def _run_ended(self, run: asyncio.Task[None]) -> None:
        self._runs.pop(run)
        self._start_runs()

    def _note_success(self, parts: Sequence[Part], entries: int, arrived: int) -> None:
        times = RunTimes(*map(sum, zip(*(part.times for part in parts), strict=True)))
        started = min(part.started_ns for part in parts)
        self.statistics.add_success(
            entries, whole=monotonic_ns() - arrived, queue=started - arrived, times=times
        )
        self._trace(entries, arrived, started, max(part.started_ns + sum(part.times) for part in parts))

    def _trace(self, entries: int, arrived: int, started: int, ended: int) -> None:
        """Tell the RPC's span how long the request waited, and how long its runs took."""
        if tracing.is_on():
            steps = {"batch wait": (arrived, started), "run": (started, ended)}
            tracing.record(steps, {"smalti.graph": self._name, "smalti.entries": entries})


def _is_wanted(part: Part) -> bool:
    if part.answer.done():  # its client has just gone away
        return False
    if part.deadline_ns is not None and part.deadline_ns <= monotonic_ns():
        _refuse(part, DeadlinePassed("The deadline passed while the request waited."))
        return False
    return True


def _refuse(part: Part, error: Exception) -> None:
    if not part.answer.done():
        part.answer.set_exception(error)


def _count_entries(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))
