"""What each knob of a graph does to the requests that wait for it."""

import asyncio
from typing import Any

import numpy as np
import pytest

from server.oneshot.batcher import Batcher
from server.oneshot.waiting import Arrays
from smalti.errors import BatcherFull, InvalidRequest, WaitedTooLong
from smalti.runtime.batching import Batching, QueuePolicy

NEVER = 3_000_000_000  # microseconds


class Graph:
    """Adds one to every value; its runs outside the event loop end when they may."""

    def __init__(self, *, quick: int = 0) -> None:
        self.batches: list[list[int]] = []
        self.here: list[list[int]] = []  # the batches that ran on the event loop
        self.may_run = asyncio.Event()
        self._quick = quick

    async def __call__(self, inputs: Arrays) -> Arrays:
        self.batches.append(inputs["x"].tolist())
        await self.may_run.wait()
        return {"y": inputs["x"] + 1}

    def run_here(self, inputs: Arrays) -> Arrays:
        self.here.append(inputs["x"].tolist())
        return {"y": inputs["x"] + 1}

    def is_quick(self, entries: int) -> bool:
        return entries <= self._quick


class Crowd:
    """Clients of one batcher, whose graph hangs in its first runs until it is released."""

    def __init__(self, graph: Graph | None = None, **knobs: Any) -> None:
        self.graph = graph or Graph()
        self.batcher = Batcher(self.graph, batching=Batching(**knobs))
        self.tasks: list[asyncio.Task[Arrays]] = []

    async def ask(self, *values: int, **how: Any) -> "asyncio.Task[Arrays]":
        """A request that has arrived and whose run has begun, if it could."""
        task = asyncio.create_task(self.batcher.ask({"x": np.array(values)}, **how))
        self.tasks.append(task)
        for _ in range(4):
            await asyncio.sleep(0)
        return task

    async def release(self) -> list[list[int]]:
        """Let everything run to its end; returns the batches after those that had begun."""
        begun = len(self.graph.batches)
        self.graph.may_run.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.batcher.close()
        return self.graph.batches[begun:]


async def test_a_higher_priority_is_served_first():
    crowd = Crowd(max_batch_size=1, priority_levels=3, default_priority=2)
    await crowd.ask(0)
    for value, priority in ((3, 3), (2, 0), (1, 1), (11, 1)):
        await crowd.ask(value, priority=priority)
    assert await crowd.release() == [[1], [11], [2], [3]]


async def test_as_many_runs_go_on_at_once_as_there_are_instances():
    crowd = Crowd(max_batch_size=1, instances=2)
    for value in (1, 2, 3):
        await crowd.ask(value)
    assert crowd.graph.batches == [[1], [2]]
    assert await crowd.release() == [[3]]


async def test_a_run_has_a_preferred_size_where_the_waiting_requests_allow_it():
    crowd = Crowd(max_batch_size=8, preferred_batch_sizes=[2, 4], max_queue_delay_microseconds=0)
    for value in range(6):
        await crowd.ask(value)
    assert [len(batch) for batch in await crowd.release()] == [4, 1]


async def test_a_run_after_a_shared_one_waits_for_a_preferred_size_as_long_as_the_delay_allows():
    crowd = Crowd(max_batch_size=8, preferred_batch_sizes=[3], max_queue_delay_microseconds=NEVER)
    for value in range(4):
        await crowd.ask(value)
    crowd.graph.may_run.set()
    await asyncio.gather(*crowd.tasks)  # given a run of three
    waiting = await crowd.ask(7)
    assert not waiting.done()
    await crowd.ask(8)
    await crowd.ask(9)
    await asyncio.wait_for(waiting, timeout=30)
    assert crowd.graph.batches == [[0], [1, 2, 3], [7, 8, 9]]
    await crowd.batcher.close()


async def test_a_run_waits_for_no_more_requests_than_the_last_one_served():
    crowd = Crowd(max_batch_size=8, max_queue_delay_microseconds=NEVER)
    for value in range(3):
        await crowd.ask(value)
    crowd.graph.may_run.set()
    await asyncio.gather(*crowd.tasks)  # given a run of two
    first, second = await crowd.ask(7), await crowd.ask(8)
    await asyncio.wait_for(asyncio.gather(first, second), timeout=30)
    assert crowd.graph.batches == [[0], [1, 2], [7, 8]]
    await crowd.batcher.close()


async def test_a_timeout_is_refused_while_the_graph_is_still_busy():
    crowd = Crowd(default_timeout_microseconds=1)
    await crowd.ask(0)
    late = await crowd.ask(1)
    with pytest.raises(WaitedTooLong, match="timeout passed while it waited"):
        await asyncio.wait_for(late, timeout=30)
    assert await crowd.release() == []


async def test_a_delayed_request_waits_behind_the_others_of_its_level():
    own = QueuePolicy(default_timeout_microseconds=1, timeout_action="delay")
    crowd = Crowd(max_batch_size=1, priority_levels=2, default_priority=2, levels={1: own})
    await crowd.ask(0)
    await crowd.ask(1, priority=1)
    await asyncio.sleep(0.01)  # given a request whose timeout has passed
    await crowd.ask(2, priority=2)
    crowd.batcher.batching = crowd.batcher.batching.model_copy(update={"levels": {}})
    await crowd.ask(3, priority=1)
    assert await crowd.release() == [[3], [1], [2]]


async def test_a_request_that_could_never_wait_is_invalid_and_counts_nowhere():
    crowd = Crowd(max_queue_size=4)
    with pytest.raises(InvalidRequest, match="has 5 entries, but at most 4 may wait"):
        await crowd.batcher.ask({"x": np.arange(5)})
    assert crowd.batcher.statistics.fail.count == 0


async def test_a_request_without_entries_is_invalid():
    with pytest.raises(InvalidRequest, match="at least one entry"):
        await Crowd().batcher.ask({"x": np.arange(0)})


async def test_a_level_has_a_queue_of_its_own_size():
    own = QueuePolicy(max_queue_size=1)
    crowd = Crowd(max_queue_size=9, priority_levels=2, default_priority=1, levels={2: own})
    await crowd.ask(0)
    await crowd.ask(1, priority=2)
    with pytest.raises(BatcherFull, match="1 of at most 1 entries wait"):
        await crowd.batcher.ask({"x": np.array([2])}, priority=2)
    await crowd.ask(3, priority=1)
    await crowd.release()


async def test_new_knobs_count_for_requests_that_wait():
    crowd = Crowd(max_batch_size=1)
    for value in (0, 1, 2):
        await crowd.ask(value)
    crowd.batcher.batching = Batching(max_batch_size=4)
    assert await crowd.release() == [[1, 2]]


async def test_requests_of_other_shapes_have_runs_of_their_own():
    crowd = Crowd()
    await crowd.ask(0)
    wide = asyncio.create_task(crowd.batcher.ask({"x": np.array([[1, 2]])}))
    await crowd.ask(3)
    crowd.tasks.append(wide)
    assert await crowd.release() == [[[1, 2]], [3]]
    assert wide.result()["y"].tolist() == [[2, 3]]


async def test_a_graph_without_a_batch_axis_runs_one_request_at_a_time():
    graph = Graph()
    batcher = Batcher(graph, batching=Batching(), is_batched=False)
    graph.may_run.set()
    scalar, vector = await asyncio.gather(
        batcher.ask({"x": np.array(4)}), batcher.ask({"x": np.array([5, 6, 7])})
    )
    assert (scalar["y"].tolist(), vector["y"].tolist()) == (5, [6, 7, 8])
    assert graph.batches == [4, [5, 6, 7]]
    assert batcher.statistics.inference_count == 2
    await batcher.close()


async def test_a_quick_run_of_a_lone_request_is_made_at_once_on_the_event_loop():
    graph = Graph(quick=2)
    batcher = Batcher(graph, batching=Batching())
    asking = batcher.ask({"x": np.array([1, 2])})
    with pytest.raises(StopIteration) as done:
        asking.send(None)  # without one turn of the loop
    assert done.value.value["y"].tolist() == [2, 3]
    assert (graph.here, graph.batches) == ([[1, 2]], [])
    assert (batcher.statistics.success.count, batcher.statistics.execution_count) == (1, 1)
    await batcher.close()


async def test_requests_of_the_same_turn_share_a_run_even_if_it_is_quick():
    graph = Graph(quick=8)
    batcher = Batcher(graph, batching=Batching())
    answers = await asyncio.gather(*(batcher.ask({"x": np.array([value])}) for value in range(4)))
    assert [answer["y"].tolist() for answer in answers] == [[1], [2], [3], [4]]
    assert graph.here == [[0], [1, 2, 3]]
    await batcher.close()


async def test_only_one_quick_run_is_made_in_a_turn_of_the_event_loop():
    graph = Graph(quick=1)
    batcher = Batcher(graph, batching=Batching(max_batch_size=1))
    tasks = [asyncio.create_task(batcher.ask({"x": np.array([value])})) for value in range(4)]
    runs = []
    while not all(task.done() for task in tasks):
        before = len(graph.here)
        await asyncio.sleep(0)
        runs.append(len(graph.here) - before)
    assert max(runs) == 1
    assert graph.here == [[0], [1], [2], [3]]
    await batcher.close()
