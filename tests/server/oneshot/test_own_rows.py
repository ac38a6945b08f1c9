"""Every request gets its own rows, once, whatever arrives, fails or leaves."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from server.oneshot.batcher import Batcher
from server.oneshot.waiting import Arrays
from smalti.errors import (
    BatcherFull,
    DeadlinePassed,
    GraphFailed,
    InternalError,
    InvalidRequest,
    SmaltiError,
    Unavailable,
    WaitedTooLong,
)
from smalti.runtime.batching import Batching, QueuePolicy

FAILS, BUG = -13, -17  # values that make a run fail
AT_ONCE, NEVER = 1e-6, 3600.0  # timeouts in seconds


class Graph:
    """Adds one to every value; remembers what it ran, and how many runs there were at once."""

    def __init__(self, *, turns: int, quick: int) -> None:
        self.batches: list[list[float]] = []  # the first value of each row
        self.most_at_once = 0
        self.answered = 0
        self._turns = turns
        self._quick = quick
        self._now = 0

    async def __call__(self, inputs: Arrays) -> Arrays:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            for _ in range(self._turns):
                await asyncio.sleep(0)
        finally:
            self._now -= 1
        return self.run_here(inputs)

    def run_here(self, inputs: Arrays) -> Arrays:
        rows = inputs["x"].reshape(len(inputs["x"]), -1)
        self.batches.append(rows[:, 0].tolist())
        if FAILS in rows:
            raise GraphFailed("unlucky")
        if BUG in rows:
            raise KeyError("mistyped")
        self.answered += 1
        return {"y": inputs["x"] + 1}

    def is_quick(self, entries: int) -> bool:
        return entries <= self._quick


@dataclass
class Request:
    """What a client sends, and when it goes away."""

    rows: np.ndarray[Any, Any]
    priority: int
    timeout: float | None
    is_late: bool
    task: "asyncio.Task[Arrays]" = field(init=False)
    has_left: bool = False
    after_close: bool = False

    def send(self, batcher: Batcher) -> None:
        deadline = asyncio.get_running_loop().time() if self.is_late else None
        asking = batcher.ask(
            {"x": self.rows}, deadline=deadline, priority=self.priority, timeout_seconds=self.timeout
        )
        self.task = asyncio.create_task(asking)

    @property
    def entries(self) -> int:
        return len(self.rows)


requests = st.fixed_dictionaries(
    {
        "size": st.sampled_from([1, 1, 1, 2, 2, 3, 9]),
        "width": st.sampled_from([1, 1, 1, 2]),  # requests of another form cannot share a run
        "value": st.sampled_from([0] * 12 + [FAILS, BUG]),
        "priority": st.integers(0, 3),
        "timeout": st.sampled_from([None, None, None, NEVER, NEVER, AT_ONCE]),
        "is_late": st.sampled_from([False] * 7 + [True]),
    }
)
policies = st.builds(
    QueuePolicy,
    max_queue_size=st.integers(4, 60),
    default_timeout_microseconds=st.sampled_from([0, 0, 0, 1, 3_000_000_000]),
    timeout_action=st.sampled_from(["reject", "delay"]),
    allow_timeout_override=st.booleans(),
)


@st.composite
def knobs(draw: Any) -> Batching:
    """Any knobs of a graph."""
    policy, most, levels = draw(policies), draw(st.integers(1, 12)), draw(st.sampled_from([0, 2]))
    return Batching(
        **policy.model_dump(),
        max_batch_size=most,
        preferred_batch_sizes=tuple(draw(st.lists(st.integers(1, most), max_size=2))),
        max_queue_delay_microseconds=draw(st.sampled_from([0, 0, 300])),
        instances=draw(st.integers(1, 3)),
        priority_levels=levels,
        default_priority=levels and draw(st.integers(1, levels)),
        levels={1: draw(policies)} if levels and draw(st.booleans()) else {},
    )


def _rarely(*strange: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One request in most cases, and otherwise one of these."""
    return st.integers(0, 9).flatmap(lambda number: requests if number < 7 else st.one_of(*strange))


steps = _rarely(
    st.tuples(st.just("turns"), st.integers(1, 4)),
    st.tuples(st.just("leaves"), st.integers(0, 30)),
    st.tuples(st.just("knobs"), st.integers(0, 1)),
)


@settings(deadline=None, max_examples=150)  # the machine may be busy
@given(
    choices=st.tuples(knobs(), knobs()),
    story=st.lists(steps, min_size=8, max_size=30),
    end=st.lists(steps, max_size=3),
    turns=st.integers(0, 5),
    quick=st.integers(0, 4),
)
def test_every_request_gets_its_own_rows_once_whatever_arrives_fails_or_leaves(
    choices: tuple[Batching, Batching], story: list[Any], end: list[Any], turns: int, quick: int
) -> None:
    closes = [("closes", None)] if end else []
    with capture_logs():  # writing every traceback takes longer than all the rest
        asyncio.run(asyncio.wait_for(_Story(choices, turns, quick).tell([*story, *closes, *end]), timeout=60))


class _Story:
    """What happens to one batcher."""

    def __init__(self, choices: tuple[Batching, Batching], turns: int, quick: int) -> None:
        self.graph = Graph(turns=turns, quick=quick)
        self.all_knobs = choices
        self.requests: list[Request] = []
        self.numbers = iter(range(100, 100_000))
        self.closing: asyncio.Task[None] | None = None

    async def tell(self, story: list[Any]) -> None:
        self.batcher = Batcher(self.graph, batching=self.all_knobs[0])
        for step in story:
            await self._take(step)
        await asyncio.gather(*(request.task for request in self.requests), return_exceptions=True)
        for request in self.requests:
            self._check(request)
        self._check_runs()
        self._check_statistics()
        await self._check_that_it_works()
        await self.batcher.close()

    async def _take(self, step: Any) -> None:
        match step:
            case ("turns", count):
                for _ in range(count):
                    await asyncio.sleep(0)
            case ("leaves", number):
                self._leave(number)
            case ("knobs", number):
                self.batcher.batching = self.all_knobs[number]
            case ("closes", _):
                self.closing = self.closing or asyncio.create_task(self.batcher.close())
            case _:
                self._send(step)

    def _leave(self, number: int) -> None:
        if self.requests:
            request = self.requests[number % len(self.requests)]
            request.has_left = request.task.cancel() or request.has_left

    def _send(self, step: dict[str, Any]) -> None:
        values = np.array([next(self.numbers) for _ in range(step["size"])], np.float32)
        if step["value"]:
            values[-1] = step["value"]
        rows = values if step["width"] == 1 else np.stack([values, values + 0.5], axis=1)
        request = Request(rows, step["priority"], step["timeout"], step["is_late"])
        request.after_close = self.closing is not None
        request.send(self.batcher)
        self.requests.append(request)

    def _check(self, request: Request) -> None:
        if request.task.cancelled():
            assert request.has_left
        elif error := request.task.exception():
            assert isinstance(error, SmaltiError)
            assert self._may_fail(request, error), repr(error)
        else:
            assert not {FAILS, BUG} & set(request.rows.flat)
            np.testing.assert_array_equal(request.task.result()["y"], request.rows + 1)

    def _may_fail(self, request: Request, error: SmaltiError) -> bool:
        match error:
            case WaitedTooLong():
                return request.timeout == AT_ONCE or any(
                    policy.default_timeout_microseconds == 1 for policy in self._policies()
                )
            case Unavailable():
                return request.after_close
            case DeadlinePassed():
                return request.is_late
            case InvalidRequest():
                return any(request.entries > policy.max_queue_size for policy in self._policies())
            case GraphFailed():
                return any(FAILS in each.rows for each in self.requests)
            case InternalError():
                return any(BUG in each.rows for each in self.requests)
        return isinstance(error, BatcherFull)

    def _policies(self) -> list[QueuePolicy]:
        return [policy for each in self.all_knobs for policy in (each, *each.levels.values())]

    def _check_runs(self) -> None:
        ran = [value for batch in self.graph.batches for value in batch if value >= 0]
        assert len(ran) == len(set(ran))
        assert all(
            len(batch) <= max(each.max_batch_size for each in self.all_knobs) for batch in self.graph.batches
        )
        assert self.graph.most_at_once <= max(each.instances for each in self.all_knobs)

    def _check_statistics(self) -> None:
        outcomes = [(request, self._outcome(request)) for request in self.requests]
        found = self.batcher.statistics
        assert found.success.count == sum(outcome is None for _, outcome in outcomes)
        assert found.inference_count == sum(
            request.entries for request, outcome in outcomes if outcome is None
        )
        assert found.execution_count == self.graph.answered
        failed = [error for _, error in outcomes if error and not isinstance(error, InvalidRequest)]
        left = [
            error for error in failed if isinstance(error, asyncio.CancelledError)
        ]  # some before they had begun
        assert len(failed) - len(left) <= found.fail.count <= len(failed)

    def _outcome(self, request: Request) -> BaseException | None:
        return asyncio.CancelledError() if request.task.cancelled() else request.task.exception()

    async def _check_that_it_works(self) -> None:
        if self.closing:
            await self.closing
        else:
            self.batcher.batching = Batching()
            answer = await self.batcher.ask({"x": np.array([7.0])})
            assert answer["y"].tolist() == [8.0]
