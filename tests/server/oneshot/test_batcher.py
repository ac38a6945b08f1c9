import asyncio

import numpy as np
import pytest

from server.oneshot.batcher import Batcher
from server.oneshot.waiting import Arrays
from smalti.errors import BatcherFull, DeadlinePassed, GraphFailed, InternalError, Unavailable, WaitedTooLong
from smalti.runtime.batching import Batching


def knobs(*, entries: int, delay: int, waiting: int) -> Batching:
    """Knobs of a graph; the delay is in microseconds."""
    return Batching(max_batch_size=entries, max_queue_delay_microseconds=delay, max_queue_size=waiting)


KNOBS = knobs(entries=4, delay=1000, waiting=64)


class Elsewhere:
    """What no graph here does: run on the event loop."""

    def run_here(self, inputs: Arrays) -> Arrays:
        raise AssertionError("a run that is not quick is not made on the event loop")

    def is_quick(self, entries: int) -> bool:
        return False


class Graph(Elsewhere):
    """Adds one to every entry; runs only when it may, fails on 13, and remembers what it ran."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = asyncio.Event()
        self.may_run = asyncio.Event()
        self.may_run.set()

    async def __call__(self, inputs: Arrays) -> Arrays:
        values = inputs["x"]
        self.batches.append(values.tolist())
        self.running.set()
        await self.may_run.wait()
        if 13 in values:
            raise GraphFailed("unlucky")
        return {"y": values + 1}

    @property
    def entries_run(self) -> list[int]:
        return [value for batch in self.batches for value in batch]


def x(*values: int) -> Arrays:
    return {"x": np.array(values)}


async def ask(batcher: Batcher, *values: int, deadline: float | None = None) -> list[int]:
    answer = await batcher.ask(x(*values), deadline=deadline)
    return list(answer["y"].tolist())


async def busy_batcher(batching: Batching = KNOBS) -> tuple[Graph, Batcher, "asyncio.Task[list[int]]"]:
    """A batcher whose graph hangs in a run of [0], so that new requests wait."""
    graph = Graph()
    graph.may_run.clear()
    batcher = Batcher(graph, batching=batching)
    first = asyncio.create_task(ask(batcher, 0))
    await graph.running.wait()
    return graph, batcher, first


async def waiting(batcher: Batcher, *values: int, deadline: float | None = None) -> "asyncio.Task[list[int]]":
    """A request that has arrived and waits."""
    task = asyncio.create_task(ask(batcher, *values, deadline=deadline))
    await asyncio.sleep(0)
    return task


async def test_a_single_request_is_run_at_once():
    batcher = Batcher(Graph(), batching=knobs(entries=4, delay=3_600_000_000, waiting=8))
    assert await asyncio.wait_for(ask(batcher, 5), timeout=5) == [6]
    await batcher.close()


async def test_requests_that_wait_together_are_run_together():
    graph, batcher, first = await busy_batcher()
    others = [await waiting(batcher, value) for value in (1, 2, 3)]
    graph.may_run.set()
    assert await asyncio.gather(first, *others) == [[1], [2], [3], [4]]
    assert graph.batches == [[0], [1, 2, 3]]
    await batcher.close()


async def test_a_run_keeps_its_limit_and_takes_requests_in_order():
    graph, batcher, first = await busy_batcher()
    others = [await waiting(batcher, *values) for values in ((1, 2, 3), (4, 5), (6,))]
    graph.may_run.set()
    await asyncio.gather(first, *others)
    assert graph.batches == [[0], [1, 2, 3], [4, 5, 6]]
    await batcher.close()


async def test_a_request_larger_than_a_run_is_split_and_joined_again():
    graph = Graph()
    batcher = Batcher(graph, batching=KNOBS)
    assert await ask(batcher, *range(10)) == list(range(1, 11))
    assert [len(batch) for batch in graph.batches] == [4, 4, 2]
    await batcher.close()


async def test_a_request_beyond_the_waiting_limit_is_refused_at_once_with_a_retry_delay():
    graph, batcher, first = await busy_batcher(knobs(entries=2, delay=0, waiting=3))
    accepted = await waiting(batcher, 1, 2)
    with pytest.raises(BatcherFull) as caught:
        await ask(batcher, 3, 4)
    assert caught.value.retry_seconds > 0
    graph.may_run.set()
    assert (await first, await accepted) == ([1], [2, 3])
    await batcher.close()


@pytest.mark.parametrize(
    ("model", "graph", "name"), [("sprites-vae", "decode", "sprites-vae.decode"), ("dec", "model", "dec")]
)
async def test_errors_name_the_graph_as_clients_of_the_protocol_do(model, graph, name):
    batcher = Batcher(Graph(), batching=KNOBS, model=model, graph=graph)
    with pytest.raises(GraphFailed, match=f"^{name} failed on a batch of 1"):
        await ask(batcher, 13)
    await batcher.close()
    with pytest.raises(Unavailable, match=f"^{name} is being unloaded"):
        await ask(batcher, 1)


async def test_a_request_is_never_run_and_frees_its_place_after_its_client_went_away():
    graph, batcher, first = await busy_batcher(knobs(entries=4, delay=0, waiting=2))
    gone = await waiting(batcher, 1, 2)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    stays = await waiting(batcher, 3, 4)
    graph.may_run.set()
    assert (await first, await stays) == ([1], [4, 5])
    assert graph.entries_run == [0, 3, 4]
    await batcher.close()


async def test_a_request_is_never_run_after_its_deadline():
    graph, batcher, first = await busy_batcher()
    late = await waiting(batcher, 1, deadline=asyncio.get_running_loop().time())
    graph.may_run.set()
    with pytest.raises(DeadlinePassed):
        await late
    await first
    assert graph.entries_run == [0]
    await batcher.close()


async def test_a_failed_run_fails_its_own_requests_only():
    graph, batcher, first = await busy_batcher(knobs(entries=2, delay=0, waiting=9))
    unlucky = [await waiting(batcher, 13), await waiting(batcher, 14)]
    lucky = await waiting(batcher, 15)
    graph.may_run.set()
    assert await first == [1]
    for request in unlucky:
        with pytest.raises(GraphFailed, match="failed on a batch of 2"):
            await request
    assert await lucky == [16]
    assert await ask(batcher, 16) == [17]
    await batcher.close()


async def test_a_bug_in_a_run_is_an_internal_error_for_its_own_requests_only():
    calls = iter([KeyError("mistyped"), None])

    class Mistaken(Graph):
        async def __call__(self, inputs: Arrays) -> Arrays:
            if error := next(calls):
                raise error
            return await super().__call__(inputs)

    batcher = Batcher(Mistaken(), batching=KNOBS)
    with pytest.raises(InternalError, match=r"^This is a bug in smalti: please report it"):
        await ask(batcher, 1)
    assert await ask(batcher, 2) == [3]
    await batcher.close()


async def test_outputs_of_the_wrong_length_are_an_error_and_never_reach_another_request():
    class LosesAnEntry(Elsewhere):
        async def __call__(self, inputs: Arrays) -> Arrays:
            return {"y": inputs["x"][1:]}

    batcher = Batcher(LosesAnEntry(), batching=KNOBS)
    with pytest.raises(GraphFailed):
        await ask(batcher, 1, 2)
    await batcher.close()


async def test_closing_answers_waiting_requests_and_refuses_new_ones():
    graph, batcher, first = await busy_batcher()
    last = await waiting(batcher, 1)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await ask(batcher, 2)
    graph.may_run.set()
    await closing
    assert (await first, await last) == ([1], [2])


async def test_a_request_that_waits_longer_than_its_timeout_is_refused_and_never_run():
    graph, batcher, first = await busy_batcher()
    late = asyncio.create_task(batcher.ask(x(1), timeout_seconds=1e-6))
    await asyncio.sleep(0)
    graph.may_run.set()
    with pytest.raises(WaitedTooLong):
        await late
    await first
    assert graph.entries_run == [0]
    await batcher.close()


async def test_statistics_count_requests_their_entries_and_runs():
    graph, batcher, first = await busy_batcher()
    others = [await waiting(batcher, value) for value in (1, 2, 3)]
    graph.may_run.set()
    await asyncio.gather(first, *others)
    found = batcher.statistics
    assert (found.inference_count, found.execution_count, found.success.count) == (4, 2, 4)
    assert [found.queue.count, found.compute_infer.count, found.fail.count] == [4, 4, 0]
    assert {size: runs.compute_infer.count for size, runs in found.batches.items()} == {1: 1, 3: 1}
    assert found.success.nanoseconds >= found.queue.nanoseconds + found.compute_infer.nanoseconds > 0
    assert found.last_inference_ms > 1_700_000_000_000
    await batcher.close()


async def test_statistics_count_a_split_request_once():
    batcher = Batcher(Graph(), batching=KNOBS)
    await ask(batcher, *range(10))
    found = batcher.statistics
    assert (found.success.count, found.queue.count, found.compute_infer.count) == (1, 1, 1)
    assert (found.inference_count, found.execution_count) == (10, 3)
    await batcher.close()


async def test_statistics_count_refused_failed_and_abandoned_requests_as_failures():
    graph, batcher, first = await busy_batcher(knobs(entries=2, delay=0, waiting=2))
    unlucky, gone = await waiting(batcher, 13), await waiting(batcher, 1)
    with pytest.raises(BatcherFull):
        await ask(batcher, 2)
    gone.cancel()
    graph.may_run.set()
    await asyncio.gather(first, unlucky, gone, return_exceptions=True)
    assert (batcher.statistics.success.count, batcher.statistics.fail.count) == (1, 3)
    assert (batcher.statistics.inference_count, batcher.statistics.execution_count) == (1, 1)
    await batcher.close()


class Whole(Elsewhere):
    """A graph that is not batched: gives the whole input and its number of values, and remembers what it ran."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, ...]] = []

    async def __call__(self, inputs: Arrays) -> Arrays:
        self.runs.append(inputs["x"].shape)
        return {"y": inputs["x"], "size": np.array(inputs["x"].size)}


@pytest.mark.parametrize("shape", [(), (0,), (1, 3), (9,), (2, 0, 5)])
async def test_each_request_to_a_graph_that_is_not_batched_is_one_run_of_any_shape(shape: tuple[int, ...]):
    graph = Whole()
    batcher = Batcher(graph, batching=KNOBS, is_batched=False)  # given a graph whose first axis is no batch
    first, second = await asyncio.gather(*(batcher.ask({"x": np.ones(shape)}) for _ in range(2)))
    assert graph.runs == [shape, shape]  # then nothing is joined, and nothing larger than a batch is divided
    assert (first["y"].shape, int(first["size"])) == (second["y"].shape, int(second["size"]))
    assert first["y"].shape == shape
    await batcher.close()


async def test_every_request_to_a_graph_that_is_not_batched_counts_as_one_that_waits():
    batcher = Batcher(Whole(), batching=knobs(entries=4, delay=1000, waiting=2), is_batched=False)
    answers = await asyncio.gather(
        *(batcher.ask({"x": np.ones(100)}) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [dict, dict, BatcherFull]
    await batcher.close()


async def test_an_output_without_entries_is_a_failed_graph():
    class Scalar(Elsewhere):
        async def __call__(self, inputs: Arrays) -> Arrays:
            return {"y": np.array(1.0)}

    batcher = Batcher(Scalar(), batching=KNOBS)
    with pytest.raises(GraphFailed):
        await ask(batcher, 1)
    await batcher.close()
