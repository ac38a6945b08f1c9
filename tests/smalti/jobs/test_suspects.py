"""After a worker fell silent with a sample, it is a suspect: drawn alone, and charged only for what it did alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from smalti.jobs.job import Claim, Job, JobState, Place, Progress
from tests.queues import Queues
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import COLUMNS, claim_from, drawn, finished, request_for, take_lease_away

TALL = 20  # rows of an image that is tall enough to draw many rows again


def at(claim: Claim, rows: int, *, is_begun: bool = False) -> Progress:
    """What a worker reports of a sample without new rows."""
    return Progress(
        job=claim.job,
        index=claim.index,
        token=claim.token,
        first_row=len(claim.pixels) // COLUMNS,
        place=Place(rows, is_begun),
    )


async def lose(queue: Queues, redis: Redis, worker: str, *, limit: int = 99) -> Sequence[Claim]:
    """Claims of a worker that falls silent right after them."""
    claims = await claim_from(queue, worker, limit=limit)
    await take_lease_away(queue, redis, worker)
    return claims


async def half_drawn(queue: Queues, redis: Redis) -> Job:
    """A tall sample with ten rows, whose worker fell silent after them."""
    job = await queue.clients.submit(request_for(rows=TALL))
    [claim] = await claim_from(queue, "first")
    await queue.workers.commit("first", [drawn(claim, 0, 10)])
    await take_lease_away(queue, redis, "first")
    return job


async def falls_silent_at(queue: Queues, redis: Redis, worker: str, *places: Place) -> None:
    [claim] = await claim_from(queue, worker)
    for place in places:
        await queue.workers.commit(worker, [at(claim, place.rows, is_begun=place.is_begun)])
    await take_lease_away(queue, redis, worker)


async def test_no_sample_fails_when_two_workers_die_right_after_their_claims(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.clients.submit(request_for(count=32, rows=TALL))
    claims = await claim_from(queue, "first", limit=32)  # given a worker that died after eight rows
    await queue.workers.commit("first", [drawn(claim, 0, 8) for claim in claims])
    await take_lease_away(queue, redis, "first")
    assert len(await lose(queue, redis, "second")) == 32  # and two that died right after their claims
    assert len(await lose(queue, redis, "third")) == 1
    now = await queue.clients.get(job.id)
    assert (now.state, now.failed) == (JobState.RUNNING, 0)
    await audit_pool(redis)


async def test_a_worker_holds_one_suspect_at_a_time_and_any_other_samples(
    queue: Queues, redis: Redis
) -> None:
    await queue.clients.submit(request_for(count=6))
    assert len(await lose(queue, redis, "gone", limit=4)) == 4
    claims = await claim_from(queue, "anna", limit=9)
    assert sorted(claim.is_suspect for claim in claims) == [False, False, True]
    assert await claim_from(queue, "anna", limit=9) == []
    [other] = await claim_from(queue, "berta", limit=9)  # another worker may have another one
    assert other.is_suspect
    suspect = next(claim for claim in claims if claim.is_suspect)
    await queue.workers.commit("anna", [finished(suspect)])
    [next_one] = await claim_from(queue, "anna", limit=9)
    assert next_one.is_suspect


async def test_a_claim_sent_again_marks_the_same_suspects(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for(count=3))
    await lose(queue, redis, "gone", limit=2)
    fields: dict[str, Any] = {"sequence": 7, "digests": ["digest-a"], "fingerprint": "cpu", "limit": 9}
    assert await queue.workers.claim("anna", **fields) == await queue.workers.claim("anna", **fields)


async def test_a_worker_with_a_suspect_gets_samples_of_later_jobs(queue: Queues, redis: Redis) -> None:
    for _ in range(3):
        await queue.clients.submit(request_for(count=2))
    assert len(await lose(queue, redis, "gone", limit=6)) == 6
    await queue.clients.submit(request_for(count=2))  # behind three jobs that have only suspects
    claims = await claim_from(queue, "anna", limit=3)
    assert sorted(claim.is_suspect for claim in claims) == [False, False, True]


async def test_suspects_with_fewer_crashes_come_first(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for(count=2))
    await lose(queue, redis, "gone")
    [twice] = await lose(queue, redis, "gone too")
    [once] = await claim_from(queue, "anna", limit=9)
    assert once.index != twice.index


async def test_the_end_of_a_suspect_rings_the_bell_for_the_next_one(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for(count=2))
    await lose(queue, redis, "gone")
    [suspect] = await claim_from(queue, "anna", limit=9)
    await queue.workers.wait_for_work(5)
    waiting = asyncio.create_task(queue.workers.wait_for_work(60))
    await queue.workers.commit("anna", [at(suspect, 0, is_begun=True)])
    await queue.workers.commit("anna", [replace(finished(suspect), place=Place(4))])
    await asyncio.wait_for(waiting, 10)


async def test_a_suspect_fails_after_three_workers_and_the_other_samples_finish(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.clients.submit(request_for(count=3))
    await lose(queue, redis, "one")
    await queue.upkeep.recover()
    for worker in ("two", "three", "four", "five"):  # given that sample 1 crashes every worker
        [claim] = await claim_from(queue, worker, limit=9)
        await queue.workers.commit(worker, [at(claim, 0, is_begun=True)])
        if claim.index != 1:
            await queue.workers.commit(worker, [finished(claim)])
        else:
            await take_lease_away(queue, redis, worker)
    now = await queue.clients.get(job.id)
    assert (now.state, now.done, now.failed) == (JobState.FAILED, 2, 1)
    assert [result.index async for result in queue.watchers.results(job) if result.error] == [1]
    await audit_pool(redis)


async def test_a_crash_while_rows_are_drawn_again_makes_no_suspect(queue: Queues, redis: Redis) -> None:
    job = await half_drawn(queue, redis)
    for again in (1, 2, 3, 4, 5):  # given five workers that died, each at a different row
        await falls_silent_at(queue, redis, f"worker-{again}", *(Place(row) for row in range(1, again + 1)))
    [claim] = await claim_from(queue, "anna")
    assert not claim.is_suspect
    assert (await queue.clients.get(job.id)).failed == 0


async def test_a_crash_near_the_end_of_the_rows_drawn_again_makes_a_suspect(
    queue: Queues, redis: Redis
) -> None:
    await half_drawn(queue, redis)
    await falls_silent_at(
        queue, redis, "second", Place(8)
    )  # it may have died before it reported rows 9 and 10
    [claim] = await claim_from(queue, "anna")
    assert claim.is_suspect


async def test_a_crash_between_a_suspects_rows_is_not_counted(queue: Queues, redis: Redis) -> None:
    job = await half_drawn(queue, redis)
    await falls_silent_at(queue, redis, "second")
    for worker in ("three", "four", "five", "six"):
        await falls_silent_at(queue, redis, worker, Place(0, is_begun=True), Place(1))
    assert (await queue.clients.get(job.id)).failed == 0


async def test_crashes_at_different_old_rows_do_not_fail_a_suspect(queue: Queues, redis: Redis) -> None:
    job = await half_drawn(queue, redis)
    await falls_silent_at(queue, redis, "second")
    for row in range(9):
        await falls_silent_at(queue, redis, f"worker-{row}", Place(row, is_begun=True))
    assert (await queue.clients.get(job.id)).failed == 0


async def test_crashes_at_the_same_old_row_fail_a_suspect(queue: Queues, redis: Redis) -> None:
    job = await half_drawn(queue, redis)
    await falls_silent_at(queue, redis, "second")
    for worker in ("three", "four", "five"):  # the first of them could be chance
        assert (await queue.clients.get(job.id)).failed == 0
        await falls_silent_at(queue, redis, worker, Place(5, is_begun=True))
    assert (await queue.clients.get(job.id)).failed == 1


async def test_a_new_row_clears_a_suspect(queue: Queues, redis: Redis) -> None:
    await half_drawn(queue, redis)
    await falls_silent_at(queue, redis, "second")
    [claim] = await claim_from(queue, "third")
    assert claim.is_suspect
    await queue.workers.commit("third", [drawn(claim, 10, 11)])
    await queue.workers.leave("third")
    [claim] = await claim_from(queue, "anna")
    assert not claim.is_suspect


async def test_suspects_of_a_cancelled_job_are_cancelled(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=3))
    await lose(queue, redis, "gone")
    assert (await queue.clients.cancel(job.id)).state is JobState.CANCELLED
    await audit_pool(redis)


async def test_watchers_see_the_rows_of_waiting_suspects(queue: Queues, redis: Redis) -> None:
    job = await half_drawn(queue, redis)
    await falls_silent_at(queue, redis, "second")
    assert [len(rows.pixels) for rows in await queue.watchers.rows(job, {})] == [10 * COLUMNS]
