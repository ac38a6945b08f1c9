"""A paused job is drawn by nobody until it is resumed, and loses nothing."""

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import JobNotFound, JobOver
from smalti.jobs.connection import connect
from smalti.jobs.job import Finished, JobState, Released, Verdict
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import (
    ADMIN,
    ANNE,
    BEN,
    ROWS,
    Twice,
    claim_from,
    drawn,
    finished,
    pass_deadline,
    request_for,
    rows_of,
    take_lease_away,
)


async def test_a_paused_job_is_handed_out_only_after_it_is_resumed(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=3))
    assert (await queue.clients.pause(job.id)).state is JobState.PAUSED
    assert await claim_from(queue, limit=9) == []
    assert (await queue.upkeep.depth()).ready_samples == 0
    assert (await queue.clients.resume(job.id)).state is JobState.QUEUED
    assert [claim.index for claim in await claim_from(queue, limit=9)] == [0, 1, 2]


async def test_a_worker_is_told_and_gives_its_samples_back_with_their_rows(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=3))
    claims = await claim_from(queue, limit=2)
    await queue.workers.commit("anna", [drawn(claim, 0, 1) for claim in claims])
    assert (await queue.clients.pause(job.id)).running == 2
    replies = await queue.workers.commit("anna", [drawn(claim, 1, 2) for claim in claims])
    assert [(reply.verdict, reply.rows) for reply in replies] == [(Verdict.PAUSED, 2)] * 2
    await queue.workers.commit(
        "anna", [drawn(claim, 2, 3, Released()) for claim in claims]
    )  # a row was under way
    paused = await queue.clients.get(job.id)
    assert (paused.state, paused.running) == (JobState.PAUSED, 0)
    assert (await queue.clients.resume(job.id)).state is JobState.RUNNING
    again = await claim_from(queue, "berta", limit=2)
    assert {claim.index: claim.pixels for claim in again} == {i: rows_of(i, 0, 3) for i in (0, 1)}
    assert not any(claim.is_suspect for claim in again)


async def test_the_last_sample_ends_a_job_that_is_being_paused(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await queue.clients.pause(job.id)
    [reply] = await queue.workers.commit("anna", [finished(claim)])
    assert (reply.verdict, (await queue.clients.get(job.id)).state) == (Verdict.ACCEPTED, JobState.SUCCEEDED)


async def test_rows_that_redis_lost_are_asked_for_also_while_the_job_is_paused(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [drawn(claim, 0, 2)])
    await queue.clients.pause(job.id)
    await redis.delete(queue.store.keys.pixels(job.id, 0))
    [behind] = await queue.workers.commit("anna", [drawn(claim, 2, 3)])
    [reply] = await queue.workers.commit("anna", [drawn(claim, 0, 3)])
    assert (behind.verdict, reply.verdict) == (Verdict.BEHIND, Verdict.PAUSED)


async def test_samples_of_a_dead_worker_wait_in_the_paused_job(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=2))
    [claim] = await claim_from(queue, "dead")
    await queue.workers.commit("dead", [drawn(claim, 0, 1)])
    await queue.clients.pause(job.id)
    assert await take_lease_away(queue, redis, "dead") == 1
    assert await claim_from(queue, limit=9) == []
    await queue.clients.resume(job.id)
    [first, _] = await claim_from(queue, limit=9)
    assert first.pixels == rows_of(0, 0, 1)


async def test_a_paused_job_can_be_cancelled_and_its_deadline_counts(queue: Queues, redis: Redis) -> None:
    cancelled, overdue = [await queue.clients.submit(request_for(deadline_seconds=1000)) for _ in range(2)]
    for job in (cancelled, overdue):
        await queue.clients.pause(job.id)
    assert (await queue.clients.cancel(cancelled.id)).state is JobState.CANCELLED
    await pass_deadline(queue, redis, overdue.id)
    assert (await queue.clients.get(overdue.id)).reason == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("change", ["pause", "resume"])
async def test_a_job_that_is_over_can_be_neither_paused_nor_resumed(queue: Queues, change: str) -> None:
    job = await queue.clients.submit(request_for(count=2))
    await claim_from(queue)
    await queue.clients.cancel(job.id)
    with pytest.raises(JobOver, match=f"{job.id} is CANCELLING: it can be neither paused nor resumed"):
        await getattr(queue.clients, change)(job.id)
    await queue.workers.leave("anna")
    with pytest.raises(JobOver, match="is CANCELLED"):
        await getattr(queue.clients, change)(job.id)


async def test_resuming_a_job_that_is_not_paused_changes_nothing(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=2))
    assert await queue.clients.resume(job.id) == job


@pytest.mark.parametrize("change", ["pause", "resume"])
async def test_only_its_client_and_admins_pause_and_resume_a_job(queue: Queues, change: str) -> None:
    job = await queue.of(ANNE).submit(request_for())
    with pytest.raises(JobNotFound):
        await getattr(queue.of(BEN), change)(job.id)
    await getattr(queue.of(ADMIN), change)(job.id)


async def test_pause_and_resume_sent_twice_change_the_counts_once(redis: Redis) -> None:
    queue = queues_on(Twice(redis), lease_seconds=60)  # type: ignore[arg-type]  # it behaves like one
    job = await queue.clients.submit(request_for(count=5))
    await claim_from(queue, limit=2)
    await queue.clients.pause(job.id)
    assert (await queue.upkeep.depth()).paused_jobs == 1
    await audit_pool(redis)
    await queue.clients.resume(job.id)
    depth = await queue.upkeep.depth()
    assert (depth.paused_jobs, depth.running_jobs, depth.ready_samples) == (0, 1, 3)
    await audit_pool(redis)


async def test_a_recount_keeps_a_paused_job_from_being_handed_out(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=5))
    await queue.clients.pause(job.id)
    await redis.delete(queue.store.keys.totals)
    await queue.upkeep.recount(every_seconds=0)
    assert await claim_from(queue, limit=9) == []
    assert (await queue.upkeep.depth()).paused_jobs == 1


async def test_a_pause_outlives_a_killed_redis(own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis)
        job = await queue.clients.submit(request_for(count=2))
        [claim] = await claim_from(queue)
        await queue.workers.commit("anna", [drawn(claim, 0, 2, Released())])
        await queue.clients.pause(job.id)
        own_redis.kill()
        own_redis.start()
        assert (await queue.clients.get(job.id)).state is JobState.PAUSED
        assert await claim_from(queue, limit=9) == []
        await queue.clients.resume(job.id)
        claims = await claim_from(queue, limit=9)
        assert [claim.pixels for claim in claims] == [rows_of(0, 0, 2), b""]
        done = [replace(drawn(c, len(c.pixels) // 3, ROWS), outcome=Finished(-1.0)) for c in claims]
        await queue.workers.commit("anna", done)
        assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED


async def test_the_audit_keeps_a_paused_job_from_being_handed_out(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=5))
    await queue.clients.pause(job.id)
    assert await queue.upkeep.audit(every_seconds=0) == {}
    await redis.zadd(f"{queue.store.keys.prefix}ready:digest-a:standard:", {job.id: 1})
    assert await claim_from(queue, limit=9) == []
    await redis.zadd(f"{queue.store.keys.prefix}ready:digest-a:standard:", {job.id: 1})
    assert await queue.upkeep.audit(every_seconds=0) == {"lists": 1}
