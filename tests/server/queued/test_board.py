"""One reader for each watched job: it reads once for all, and ends with its last watcher."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from server.caller import ANYONE, Caller, caller, set_caller
from server.queued import reader as reader_module
from server.queued.board import Board
from server.queued.hints import Hints
from server.queued.view import SampleEnd
from server.queued.watching import Watching
from smalti.errors import InternalError, JobNotFound, Unavailable, WatchersFull
from smalti.jobs.clients import ClientJobs
from smalti.jobs.job import Job, SampleRows
from tests.queues import Queues, queues_on
from tests.smalti.jobs.story import ROWS, Counting, claim_from, drawn, finished, request_for


@pytest.fixture
def queue(redis) -> Queues:
    return queues_on(redis)


@pytest.fixture(autouse=True)
def _only_on_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers look when a test rings, and not by themselves."""
    monkeypatch.setattr(reader_module, "_LOOK_ANYWAY_SECONDS", None)
    monkeypatch.setattr(reader_module, "_BETWEEN_LOOKS_SECONDS", 0.0)


@contextmanager
def board_on(queue: Queues, *, most_per_job: int = 1000) -> Iterator[tuple[Board, Hints]]:
    hints = Hints([queue.watchers])
    yield Board(queue.clients, queue.watchers, hints, most_per_job=most_per_job), hints


async def watch_all(board: Board, job: Job, count: int):
    """So many watchers, who have the snapshot."""
    watchers = [Watching(board).watch(job, rows=True) for _ in range(count)]
    for watcher in watchers:
        assert await anext(watcher) == job
    return watchers


async def close_all(watchers) -> None:
    for watcher in watchers:
        await watcher.aclose()


async def test_a_change_is_read_once_for_all_watchers(redis, until):
    counting = Counting(redis)
    queue = queues_on(counting)  # type: ignore[arg-type]  # it behaves like one
    job_id = (await queue.clients.submit(request_for())).id
    [claim] = await claim_from(queue)
    job = await queue.clients.get(job_id)
    with board_on(queue) as (board, hints):
        watchers = await watch_all(board, job, 20)
        before = counting.round_trips
        waiting = [asyncio.ensure_future(anext(watcher)) for watcher in watchers]
        [reader] = board._readers.values()
        await until(
            lambda: counting.round_trips == before + 4
        )  # state, ends, samples in progress, their rows
        await queue.workers.commit("anna", [drawn(claim, 0, 2)])
        before = counting.round_trips
        hints.ring({job_id})
        rows = await asyncio.gather(*waiting)
        assert {(event.first_row, event.pixels) for event in rows} == {(0, drawn(claim, 0, 2).pixels)}
        assert counting.round_trips == before + 4
        await close_all(watchers)
    assert reader.watchers == set()


async def test_the_first_watcher_starts_the_reader_and_the_last_one_stops_it(queue: Queues, until):
    job = await queue.clients.submit(request_for())
    with board_on(queue) as (board, hints):
        first, second = await watch_all(board, job, 2)
        [reading] = board._reading.values()
        await until(lambda: hints.followed == {job.id})
        await first.aclose()
        assert board.watched == {job.id: 1}
        await second.aclose()
        assert board.watched == {}
        await until(reading.cancelled)
        assert hints.followed == set()


async def test_a_job_has_a_limit_of_watchers_and_one_who_leaves_frees_a_place(queue: Queues):
    job, other = [await queue.clients.submit(request_for()) for _ in range(2)]
    with board_on(queue, most_per_job=2) as (board, _):
        watchers = await watch_all(board, job, 2)
        with pytest.raises(WatchersFull, match=f"Job {job.id} has 2 watchers") as caught:
            await watch_all(board, job, 1)
        assert caught.value.retry_seconds > 0
        watchers += await watch_all(board, other, 1)
        await watchers.pop(0).aclose()
        watchers += await watch_all(board, job, 1)
        await close_all(watchers)


async def test_no_watcher_goes_back_to_a_job_older_than_its_snapshot(queue: Queues, until):
    job = await queue.clients.submit(request_for())
    with board_on(queue) as (board, _):
        [early] = await watch_all(board, job, 1)
        [reader] = board._readers.values()
        await until(lambda: reader._looks == 1)  # given a reader that knows the job as queued
        cancelled = await queue.clients.cancel(job.id)
        [late] = await watch_all(board, cancelled, 1)  # when one joins who knows better
        assert [event async for event in late] == [
            cancelled
        ]  # then it sees the job as ended, and nothing older
        assert [event async for event in early][-1] == cancelled


async def test_a_watcher_of_a_job_that_ended_before_it_came_gets_its_images(queue: Queues):
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [finished(claim)])
    job = await queue.clients.get(job.id)
    with board_on(queue) as (board, _):
        without_rows = Watching(board).watch(job, rows=False)
        assert await anext(without_rows) == job
        assert await anext(without_rows) == SampleEnd(0, True)  # it read no rows
        [late] = await watch_all(board, job, 1)
        rows = SampleRows(index=0, first_row=0, pixels=drawn(claim, 0, ROWS).pixels)
        assert [event async for event in late] == [rows, SampleEnd(0, True), job]
        assert [event async for event in without_rows] == [job]


async def test_when_the_job_is_deleted_all_its_watchers_learn_it_and_a_new_one_starts_again(queue: Queues):
    job = await queue.clients.submit(request_for())
    with board_on(queue) as (board, hints):
        watchers = await watch_all(board, job, 3)
        waiting = [asyncio.ensure_future(anext(watcher)) for watcher in watchers]
        await queue.store.redis.delete(queue.store.keys.job(job.id))  # at once: nobody sees it end first
        hints.ring({job.id})
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in errors] == [JobNotFound] * 3
        assert len({id(error) for error in errors}) == 3  # each has a traceback of its own
        assert board.watched == {}


async def test_a_bug_in_the_reader_reaches_every_watcher_as_an_internal_error(
    queue: Queues, monkeypatch: pytest.MonkeyPatch
):
    async def refresh(self: ClientJobs, job: Job) -> Job:
        raise ZeroDivisionError

    job = await queue.clients.submit(request_for())
    monkeypatch.setattr(ClientJobs, "refresh", refresh)
    with board_on(queue) as (board, _):
        watchers = await watch_all(board, job, 2)
        errors = await asyncio.gather(*(anext(watcher) for watcher in watchers), return_exceptions=True)
    assert [type(error) for error in errors] == [InternalError] * 2


async def test_an_outage_of_redis_is_waited_out_and_a_longer_one_ends_the_watch(
    queue: Queues, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reader_module, "_RETRY_SECONDS", 0.0)
    refresh, outage = ClientJobs.refresh, iter(range(5))

    async def refresh_after_the_outage(self: ClientJobs, job: Job) -> Job:
        if next(outage, None) is not None:
            raise Unavailable("Redis does not answer.")
        return await refresh(self, job)

    monkeypatch.setattr(ClientJobs, "refresh", refresh_after_the_outage)
    job = await queue.clients.submit(request_for())
    cancelled = await queue.clients.cancel(job.id)
    with board_on(queue) as (board, _):
        [watcher] = await watch_all(board, job, 1)
        assert [event async for event in watcher] == [cancelled]
        outage = iter(range(5))
        monkeypatch.setattr(reader_module, "_PATIENCE_SECONDS", -1.0)
        [watcher] = await watch_all(board, job, 1)
        with pytest.raises(Unavailable, match=r"Redis does not answer\."):
            await anext(watcher)


async def test_a_reader_belongs_to_no_client(queue: Queues, monkeypatch: pytest.MonkeyPatch, until):
    seen, refresh = set(), ClientJobs.refresh

    async def noting_refresh(self: ClientJobs, job: Job) -> Job:
        seen.add(caller())
        return await refresh(self, job)

    monkeypatch.setattr(ClientJobs, "refresh", noting_refresh)
    job = await queue.clients.submit(request_for())
    set_caller(Caller(name="anna", groups=frozenset({"jobs"})))
    with board_on(queue) as (board, _):
        watchers = await watch_all(board, job, 1)
        await until(lambda: seen)
        await close_all(watchers)
    assert seen == {ANYONE}


async def test_watchers_who_come_and_go_at_any_moment_leave_nothing_behind(queue: Queues, until):
    job = await queue.clients.submit(request_for())
    with board_on(queue) as (board, hints):

        async def come_and_go(number: int) -> None:
            watcher = Watching(board).watch(job, rows=bool(number % 2))
            await anext(watcher)
            going = asyncio.ensure_future(anext(watcher))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            await watcher.aclose()

        await asyncio.gather(*(come_and_go(number) for number in range(300)))
        assert board.watched == {}
        assert board._reading == {}
        await until(lambda: not hints.followed)
