"""Watching a job: its rows, the ends of its samples, and its state; and the hints that wake readers."""

import asyncio

import pytest

from server.queued import reader
from server.queued.hints import Hints
from smalti.errors import Unavailable
from smalti.v1 import jobs_pb2, types_pb2
from tests.server.conftest import Running, refused
from tests.server.hand_worker import HandWorker

MODEL = types_pb2.ModelVersion(name="toy-pixel-rnn")
HEIGHT, WIDTH = 6, 5


async def submit(server: Running, count: int = 1) -> str:
    reply = await server.jobs.Submit(jobs_pb2.SubmitRequest(model=MODEL, count=count))
    return str(reply.job.id)


def watch(server: Running, job_id: str, *, rows: bool = True):
    return server.jobs.Watch(jobs_pb2.WatchRequest(id=job_id, rows=rows))


async def next_of(call, kind: str):
    """The next event of a kind."""
    async for event in call:
        if event.WhichOneof("event") == kind:
            return getattr(event, kind)
    pytest.fail(f"the stream ended without {kind}")


async def test_a_watcher_sees_a_snapshot_rows_ends_and_last_the_ended_job(
    server: Running, hand_worker: HandWorker
):
    job_id = await submit(server, count=2)
    call = watch(server, job_id)
    snapshot = (await anext(aiter(call))).job
    assert (snapshot.id, snapshot.state) == (job_id, jobs_pb2.JOB_STATE_QUEUED)
    first, second = await hand_worker.claim(2)
    await hand_worker.draw(second, first_row=0, rows=2)
    rows = await next_of(call, "rows")
    assert (rows.index, rows.first_row, rows.indices) == (1, 0, b"\1" * 2 * WIDTH)
    await hand_worker.draw(second, first_row=2, rows=1)
    rows = await next_of(call, "rows")
    assert (rows.index, rows.first_row, rows.indices) == (1, 2, b"\1" * WIDTH)
    await hand_worker.draw(second, first_row=3, rows=3)
    rows = await next_of(call, "rows")
    assert (rows.index, rows.first_row, len(rows.indices)) == (1, 3, 3 * WIDTH)
    ended = await next_of(call, "ended")
    assert (ended.index, ended.succeeded) == (1, True)
    await hand_worker.fail(first)
    rest = [event async for event in call]
    assert any(event.ended == jobs_pb2.SampleEnded(index=0, succeeded=False) for event in rest)
    assert (rest[-1].job.state, rest[-1].job.done, rest[-1].job.failed) == (jobs_pb2.JOB_STATE_FAILED, 1, 1)


async def test_the_pause_between_looks_does_not_delay_the_first_row(
    server: Running, hand_worker: HandWorker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reader, "_BETWEEN_LOOKS_SECONDS", 3600.0)
    call = watch(server, await submit(server))
    await anext(aiter(call))  # given a watcher who has seen the job waiting
    [claim] = await hand_worker.claim(1)
    await hand_worker.draw(claim, first_row=0, rows=1)  # when its first row is drawn
    async with asyncio.timeout(60):
        assert (await next_of(call, "rows")).first_row == 0  # then it is seen
    call.cancel()


async def test_every_row_of_every_sample_arrives_once_and_in_order(server: Running, hand_worker: HandWorker):
    job_id = await submit(server, count=8)
    drawn: dict[int, bytes] = {}

    async def look() -> None:
        async for event in watch(server, job_id):
            if event.WhichOneof("event") == "rows":
                known = drawn.get(event.rows.index, b"")
                assert event.rows.first_row * WIDTH == len(known)
                drawn[event.rows.index] = known + event.rows.indices

    looking = asyncio.create_task(look())
    claims = await hand_worker.claim(8)
    for row in range(HEIGHT):
        for claim in claims:
            await hand_worker.draw(claim, first_row=row, rows=1)
    await looking
    assert drawn == {index: bytes([index % 3]) * HEIGHT * WIDTH for index in range(8)}


async def test_without_rows_only_ends_and_the_job_are_sent(server: Running, hand_worker: HandWorker):
    job_id = await submit(server, count=3)
    await hand_worker.draw_all()
    events = [event async for event in watch(server, job_id, rows=False)]
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == kinds[-1] == "job"
    assert sorted(event.ended.index for event in events if event.HasField("ended")) == [0, 1, 2]
    assert "rows" not in kinds


async def test_watching_an_ended_job_ends_at_once(server: Running, hand_worker: HandWorker):
    job_id = await submit(server)
    await hand_worker.draw_all()
    events = [event async for event in watch(server, job_id)]
    assert events[0].job.state == events[-1].job.state == jobs_pb2.JOB_STATE_SUCCEEDED


async def test_a_cancelled_job_ends_its_watch(server: Running):
    job_id = await submit(server, count=1000)
    call = watch(server, job_id)
    await anext(aiter(call))
    await server.jobs.Cancel(jobs_pb2.CancelJobRequest(id=job_id))
    last = [event async for event in call][-1]
    assert last.job.state == jobs_pb2.JOB_STATE_CANCELLED


async def test_an_end_is_seen_even_if_its_hint_was_lost(server: Running, hand_worker: HandWorker, redis):
    job_id = await submit(server)
    call = watch(server, job_id)
    await anext(aiter(call))
    await redis.delete("smalti:{default}:events")
    await hand_worker.draw_all()
    await redis.delete("smalti:{default}:events")
    assert [event async for event in call][-1].job.state == jobs_pb2.JOB_STATE_SUCCEEDED


async def test_a_slow_watcher_gets_every_end(server: Running, hand_worker: HandWorker):
    job_id = await submit(server, count=300)
    call = watch(server, job_id)
    await anext(aiter(call))
    await hand_worker.draw_all()  # while nobody reads
    events = [event async for event in call]
    assert sorted(event.ended.index for event in events if event.HasField("ended")) == list(range(300))


async def test_a_job_that_is_not_there_cannot_be_watched(server: Running):
    refusal = await refused(watch(server, "nosuchjob"))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "JOB_NOT_FOUND")


async def test_a_stopping_server_ends_watches_with_unavailable(server: Running):
    job_id = await submit(server)
    call = watch(server, job_id)
    await anext(aiter(call))
    stopping = asyncio.create_task(server.application.stop())
    refusal = await refused(call)
    await stopping
    assert (refusal.code, refusal.message) == ("UNAVAILABLE", "The server is stopping.")


class _Broken:
    """A queue whose Redis is away for the first reader."""

    def __init__(self) -> None:
        self.readers = 0

    async def events(self):
        self.readers += 1
        if self.readers == 1:
            raise Unavailable("Redis does not answer.")
        yield set()
        yield {"job"}
        await asyncio.Event().wait()


async def test_all_readers_are_woken_when_redis_comes_back(until):
    queue = _Broken()
    hints = Hints([queue])
    with hints.follow("other") as missed, hints.follow("job") as heard:
        reading = asyncio.create_task(hints.run())
        await asyncio.wait_for(missed.wait(60), timeout=5)
        await until(lambda: queue.readers == 2)
        await asyncio.wait_for(heard.wait(60), timeout=5)
        reading.cancel()


class _Events:
    """A queue with events that a test makes."""

    def __init__(self) -> None:
        self.readers = 0
        self.happened: asyncio.Queue[set[str]] = asyncio.Queue()

    async def events(self):
        self.readers += 1
        try:
            yield set()
            while True:
                yield await self.happened.get()
        finally:
            self.readers -= 1


async def test_events_are_read_only_while_somebody_follows(until):
    queue = _Events()
    hints = Hints([queue])
    reading = asyncio.create_task(hints.run())
    with hints.follow("job") as bell:
        await until(lambda: queue.readers == 1)
        await asyncio.wait_for(bell.wait(60), timeout=5)  # for what happened before anybody listened
        await queue.happened.put({"job", "other"})
        await asyncio.wait_for(bell.wait(60), timeout=5)
    await queue.happened.put({"other"})
    await until(lambda: queue.readers == 0)
    with hints.follow("other") as bell:
        await until(lambda: queue.readers == 1)
        await asyncio.wait_for(bell.wait(60), timeout=5)
    reading.cancel()
