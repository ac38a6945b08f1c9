"""A job that has not ended at its deadline is stopped and fails; what it has stays."""

import pytest
from redis.asyncio import Redis

from smalti.errors import RequestConflict
from smalti.jobs.job import JobState, Verdict
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import (
    ANNE,
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

OVERDUE = "DEADLINE_EXCEEDED"


async def test_a_job_that_waits_past_its_deadline_fails(queue: Queues, until: Until) -> None:
    job = await queue.clients.submit(request_for(count=3, deadline_seconds=0.05))
    assert job.deadline == pytest.approx(job.created + 0.05)
    assert await until(queue.upkeep.stop_overdue) == 1  # when it has passed by the clock of Redis
    ended = await queue.clients.get(job.id)
    assert (ended.state, ended.reason, ended.failed) == (JobState.FAILED, OVERDUE, 0)
    assert await claim_from(queue, limit=9) == []


async def test_a_job_within_its_deadline_goes_on(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(deadline_seconds=1000))
    assert await queue.upkeep.stop_overdue() == 0
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [finished(claim)])
    ended = await queue.clients.get(job.id)
    assert (ended.state, ended.reason) == (JobState.SUCCEEDED, "")


async def test_running_samples_end_at_their_next_commit_and_finished_ones_stay(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.clients.submit(request_for(count=4, deadline_seconds=1000))
    done, running = await claim_from(queue, limit=2)
    await queue.workers.commit("anna", [finished(done), drawn(running, 0, 1)])
    assert await pass_deadline(queue, redis, job.id) == 1
    stopping = await queue.clients.get(job.id)
    assert (stopping.state, stopping.reason) == (JobState.CANCELLING, OVERDUE)
    progress = drawn(running, 1, 2)
    for _ in range(2):  # the second time as if the reply was lost
        [reply] = await queue.workers.commit("anna", [progress])
        assert reply.verdict is Verdict.CANCELLED
    ended = await queue.clients.get(job.id)
    assert (ended.state, ended.reason, ended.done) == (JobState.FAILED, OVERDUE, 1)
    [result] = [result async for result in queue.watchers.results(ended)]
    assert (result.index, result.pixels) == (done.index, rows_of(done.index, 0, ROWS))


async def test_an_overdue_job_of_a_dead_worker_ends_with_the_lease(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(deadline_seconds=1000))
    await claim_from(queue, "dead")
    await pass_deadline(queue, redis, job.id)
    assert await take_lease_away(queue, redis, "dead") == 1
    assert (await queue.clients.get(job.id)).state is JobState.FAILED


async def test_whoever_stops_a_job_first_decides_how_it_ends(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(deadline_seconds=1000))
    [claim] = await claim_from(queue)
    await queue.clients.cancel(job.id)
    assert await pass_deadline(queue, redis, job.id) == 0
    await queue.workers.commit("anna", [drawn(claim, 0, 1)])
    ended = await queue.clients.get(job.id)
    assert (ended.state, ended.reason) == (JobState.CANCELLED, "")


async def test_a_deadline_that_passes_sent_twice_stops_once(redis: Redis) -> None:
    queue = queues_on(Twice(redis), lease_seconds=60)  # type: ignore[arg-type]  # it behaves like one
    job = await queue.clients.submit(request_for(count=5, deadline_seconds=1000))
    await claim_from(queue, limit=2)
    await pass_deadline(queue, redis, job.id)
    await queue.workers.leave("anna")
    assert (await queue.clients.get(job.id)).state is JobState.FAILED
    await audit_pool(redis)


async def test_many_deadlines_at_once_are_all_seen(queue: Queues, redis: Redis) -> None:
    jobs = [await queue.clients.submit(request_for(deadline_seconds=1000)) for _ in range(40)]
    await redis.zadd(queue.store.keys.prefix + "deadlines", {job.id: 1 for job in jobs})
    assert await queue.upkeep.stop_overdue() == 40


async def test_a_deadline_that_was_lost_comes_back_with_the_recount(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(deadline_seconds=1000))
    await redis.delete(queue.store.keys.prefix + "deadlines")
    await queue.upkeep.recount(every_seconds=0)
    assert await pass_deadline(queue, redis, job.id) == 1


async def test_the_same_request_id_with_another_deadline_is_another_request(queue: Queues) -> None:
    await queue.of(ANNE).submit(request_for(deadline_seconds=10), request_id="one")
    with pytest.raises(RequestConflict):
        await queue.of(ANNE).submit(request_for(deadline_seconds=20), request_id="one")
