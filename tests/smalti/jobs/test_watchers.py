"""Results, rows, ended, events."""

import asyncio
from contextlib import aclosing

import pytest
from redis.asyncio import Redis

from smalti.jobs.job import Failed, Released, SampleRows
from tests.queues import Queues
from tests.smalti.jobs.story import claim_from, drawn, finished, request_for, rows_of


async def test_results_of_ended_samples_come_in_the_order_of_indices(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=2100))
    claims = await claim_from(queue, limit=2100)
    chosen = [claims[index] for index in (2050, 3, 1023, 1024, 0)]
    await queue.workers.commit("anna", [finished(claim) for claim in chosen])
    results = [result async for result in queue.watchers.results(job)]
    assert [result.index for result in results] == [0, 3, 1023, 1024, 2050]
    assert all(result.pixels == rows_of(result.index, 0, 4) for result in results)


@pytest.mark.parametrize(
    ("start", "limit", "indices"), [(0, 2, [0]), (1, 0, [2, 3]), (2, 1, [2]), (4, 9, []), (9, 0, [])]
)
async def test_results_of_a_range_of_indices(
    queue: Queues, start: int, limit: int, indices: list[int]
) -> None:
    job = await queue.clients.submit(request_for(count=5))
    claims = await claim_from(queue, limit=5)
    await queue.workers.commit("anna", [finished(claims[index]) for index in (0, 2, 3)])
    found = [result.index async for result in queue.watchers.results(job, start=start, limit=limit)]
    assert found == indices


async def test_a_job_that_was_forgotten_has_no_rows_ends_or_results(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    await queue.clients.cancel(job.id)
    await queue.clients.delete(job.id)
    assert [result async for result in queue.watchers.results(job)] == []
    assert await queue.watchers.rows(job, {}) == []
    assert await queue.watchers.ended(job) == []


async def test_a_watcher_reads_only_new_rows(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=4))
    claims = await claim_from(queue, limit=4)
    await queue.workers.commit(
        "anna", [drawn(claim, 0, rows) for claim, rows in zip(claims, (3, 2, 1, 0), strict=True)]
    )
    assert await queue.watchers.rows(job, {0: 1, 1: 2}) == [
        SampleRows(index=0, first_row=1, pixels=rows_of(0, 1, 3)),
        SampleRows(index=2, first_row=0, pixels=rows_of(2, 0, 1)),
    ]
    assert [rows.index for rows in await queue.watchers.rows(job, {}, limit=1)] == [0]


async def test_rows_of_a_released_sample_can_still_be_seen(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [drawn(claim, 0, 2, Released())])
    assert [rows.pixels for rows in await queue.watchers.rows(job, {})] == [rows_of(0, 0, 2)]


async def test_a_watcher_reads_only_new_ends(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=4))
    claims = await claim_from(queue, limit=4)
    assert await queue.watchers.ended(job) == []
    await queue.workers.commit("anna", [finished(claims[2]), drawn(claims[0], 0, 1, Failed("no"))])
    assert await queue.watchers.ended(job) == [(2, True), (0, False)]
    await queue.workers.commit("anna", [finished(claims[1]), finished(claims[3])])
    assert await queue.watchers.ended(job, known=2, limit=1) == [(1, True)]
    assert await queue.watchers.ended(job, known=3) == [(3, True)]


async def test_every_change_of_a_job_is_announced(queue: Queues) -> None:
    await queue.clients.submit(request_for())  # before the reader came
    async with aclosing(queue.watchers.events()) as events:
        assert await anext(events) == set()
        job = await queue.clients.submit(request_for(count=2))
        assert await anext(events) == {job.id}
        await queue.clients.cancel(job.id)
        assert await anext(events) == {job.id}


async def test_a_reader_gets_an_empty_item_while_nothing_happens(queue: Queues) -> None:
    async with aclosing(queue.watchers.events()) as events:
        assert [await anext(events), await anext(events)] == [set(), set()]


async def test_the_stream_of_events_stays_short(queue: Queues, redis: Redis) -> None:
    await asyncio.gather(*(queue.clients.submit(request_for()) for _ in range(150)))
    claims = await claim_from(queue, limit=150)
    for _ in range(10):
        await queue.workers.commit("anna", [drawn(claim, 0, 0) for claim in claims])
    assert await redis.xlen("smalti:{default}:events") < 1200
    assert await redis.xlen("smalti:{default}:bell") == 1
