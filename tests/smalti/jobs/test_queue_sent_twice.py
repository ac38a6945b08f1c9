"""Every script is sent twice, as redis-py does when a reply is lost. Nothing may happen twice."""

import pytest
from redis.asyncio import Redis

from smalti.errors import JobNotFound
from smalti.jobs.job import Failed, JobState, Released, Verdict
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import (
    ROWS,
    Twice,
    claim_from,
    drawn,
    finished,
    request_for,
    rows_of,
    take_lease_away,
)


@pytest.fixture
def queue(redis: Redis) -> Queues:
    return queues_on(Twice(redis), lease_seconds=60)  # type: ignore[arg-type]  # it behaves like one


@pytest.mark.parametrize("request_id", ["", "mine"])
async def test_submit_sent_twice_queues_one_job(queue: Queues, redis: Redis, request_id: str) -> None:
    job = await queue.clients.submit(request_for(count=3), request_id=request_id)
    assert [found.id for found in (await queue.clients.list(limit=9))[0]] == [job.id]
    assert (await queue.upkeep.depth()).ready_samples == 3
    await audit_pool(redis)


async def test_claim_sent_twice_takes_its_samples_once(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=5))
    assert [claim.index for claim in await claim_from(queue, limit=2)] == [0, 1]
    assert (await queue.clients.get(job.id)).running == 2
    await audit_pool(redis)


async def test_commit_sent_twice_stores_rows_and_counts_ends_once(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=4))
    done, bad, back, going = await claim_from(queue, limit=4)
    replies = await queue.workers.commit(
        "anna",
        [finished(done), drawn(bad, 0, 1, Failed("no")), drawn(back, 0, 1, Released()), drawn(going, 0, 3)],
    )
    assert [reply.verdict for reply in replies] == [Verdict.DUPLICATE] * 4
    assert [reply.rows for reply in replies[:1] + replies[3:]] == [ROWS, 3]
    now = await queue.clients.get(job.id)
    assert (now.done, now.failed, now.running) == (1, 1, 1)
    assert await queue.watchers.ended(job) == [(done.index, True), (bad.index, False)]
    assert {rows.index: rows.pixels for rows in await queue.watchers.rows(job, {})} == {
        back.index: rows_of(back.index, 0, 1),
        going.index: rows_of(going.index, 0, 3),
    }
    await audit_pool(redis)


async def test_recover_sent_twice_counts_one_crash(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for())
    for worker in ("one", "two"):
        await claim_from(queue, worker)
        await take_lease_away(queue, redis, worker)
    assert (await queue.clients.get(job.id)).failed == 0
    await audit_pool(redis)


async def test_leave_sent_twice_gives_back_once(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for(count=2))
    await claim_from(queue, limit=2)
    await queue.workers.leave("anna")
    assert (await queue.upkeep.depth()).ready_samples == 2
    await audit_pool(redis)


async def test_cancel_sent_twice_cancels_once(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=5))
    [claim] = await claim_from(queue)
    assert (await queue.clients.cancel(job.id)).state is JobState.CANCELLING
    [reply] = await queue.workers.commit("anna", [drawn(claim, 0, 1)])
    assert reply.verdict is Verdict.CANCELLED
    assert (await queue.clients.get(job.id)).state is JobState.CANCELLED
    await audit_pool(redis)


async def test_delete_sent_twice_succeeds_and_a_second_delete_does_not(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    await queue.clients.cancel(job.id)
    await queue.clients.delete(job.id)
    with pytest.raises(JobNotFound):
        await queue.clients.delete(job.id)


async def test_expire_sent_twice_forgets_once(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(retention_seconds=0))
    await queue.clients.cancel(job.id)
    await queue.upkeep.expire()
    assert (await queue.clients.list(limit=9))[0] == []
    await audit_pool(redis)


async def test_a_repeated_release_does_not_change_a_sample_that_another_worker_claimed(redis: Redis) -> None:
    queue = queues_on(redis)
    await queue.clients.submit(request_for())
    [claim] = await claim_from(queue, "anna")
    release = drawn(claim, 0, 1, Released())
    await queue.workers.commit("anna", [release])
    [theirs] = await claim_from(queue, "berta")
    [late] = await queue.workers.commit("anna", [release])
    [reply] = await queue.workers.commit("berta", [drawn(theirs, 1, 2)])
    assert (late.verdict, reply.verdict) == (Verdict.DUPLICATE, Verdict.ACCEPTED)
    await audit_pool(redis)
