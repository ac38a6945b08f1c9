"""Results, rows, ended, events, depth."""

import asyncio
from contextlib import aclosing

import pytest
from redis.asyncio import Redis

from smalti.jobs.job import Failed, QueueDepth, Released, SampleRows
from tests.queues import Queues
from tests.smalti.jobs.story import claim_from, drawn, finished, request_for, rows_of


async def test_results_come_in_the_order_of_indices_as_far_as_they_are(queue: Queues) -> None:
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
    assert await queue.watchers.ended(job) == ([], 0)


async def test_a_watcher_reads_only_rows_that_it_does_not_know(queue: Queues) -> None:
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


async def test_rows_of_a_sample_between_two_workers_can_still_be_seen(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [drawn(claim, 0, 2, Released())])
    assert [rows.pixels for rows in await queue.watchers.rows(job, {})] == [rows_of(0, 0, 2)]


async def test_ended_samples_can_be_followed_by_a_cursor(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=4))
    claims = await claim_from(queue, limit=4)
    assert await queue.watchers.ended(job) == ([], 0)
    await queue.workers.commit("anna", [finished(claims[2]), drawn(claims[0], 0, 1, Failed("no"))])
    samples, cursor = await queue.watchers.ended(job)
    assert samples == [(2, True), (0, False)]
    await queue.workers.commit("anna", [finished(claims[1]), finished(claims[3])])
    assert await queue.watchers.ended(job, cursor=cursor, limit=1) == ([(1, True)], 3)
    assert await queue.watchers.ended(job, cursor=3) == ([(3, True)], 4)


async def test_whatever_happens_to_a_job_is_announced(queue: Queues) -> None:
    await queue.clients.submit(request_for())  # before the reader came
    async with aclosing(queue.watchers.events()) as events:
        assert await anext(events) == set()
        job = await queue.clients.submit(request_for(count=2))
        assert await anext(events) == {job.id}
        await queue.clients.cancel(job.id)
        assert await anext(events) == {job.id}


async def test_who_reads_events_can_stop_though_none_come(queue: Queues) -> None:
    async with aclosing(queue.watchers.events()) as events:
        assert [await anext(events), await anext(events)] == [set(), set()]


async def test_the_stream_of_events_stays_short(queue: Queues, redis: Redis) -> None:
    await asyncio.gather(*(queue.clients.submit(request_for()) for _ in range(150)))
    claims = await claim_from(queue, limit=150)
    for _ in range(10):
        await queue.workers.commit("anna", [drawn(claim, 0, 0) for claim in claims])
    assert await redis.xlen("smalti:{default}:events") < 1200
    assert await redis.xlen("smalti:{default}:bell") == 1


async def test_the_depth_counts_jobs_samples_and_workers(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for(count=5))
    waiting = await queue.clients.submit(request_for(count=7, digest="digest-b"))
    await claim_from(queue, limit=2)
    assert waiting.created
    await redis.zadd("smalti:{default}:queued", {waiting.id: (waiting.created - 100) * 1000})
    depth = await queue.upkeep.depth()
    assert depth == QueueDepth(
        queued_jobs=1,
        running_jobs=1,
        ready_samples=10,
        running_samples=2,
        workers=1,
        oldest_seconds=depth.oldest_seconds,
    )
    assert 100 <= depth.oldest_seconds < 130


async def test_of_a_worker_that_holds_more_than_its_slots_the_oldest_claims_are_said_to_run_no_more(
    queue: Queues,
) -> None:
    old, new = [await queue.clients.submit(request_for(count=3)) for _ in range(2)]

    async def running() -> tuple[int, int, int]:
        now = [(await queue.clients.get(job.id)).running for job in (old, new)]
        return now[0], now[1], (await queue.upkeep.depth()).running_samples

    first = await claim_from(queue, limit=2, slots=2)
    assert await running() == (1, 1, 2)  # they take turns
    second = await claim_from(queue, limit=2, slots=2)  # while the last rows of those are on their way
    assert await running() == (1, 1, 2)
    third = await claim_from(queue, "bert", limit=2)  # whose slots are not known
    assert await running() == (2, 2, 4)
    await queue.workers.commit("anna", [finished(claim) for claim in first])
    assert await running() == (2, 2, 4)
    await queue.workers.commit("anna", [finished(claim) for claim in second])
    await queue.workers.commit("bert", [finished(claim) for claim in third])
    assert await running() == (0, 0, 0)
