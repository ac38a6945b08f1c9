"""No call of the queue keeps Redis busy for long: large ones are done in parts, and may be interrupted between two."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from smalti.errors import Unavailable
from smalti.jobs.job import Finished, JobState, Progress, Released, Verdict
from smalti.jobs.keys import CHUNK
from tests.queues import Queues, queues_of, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import Failing, claim_from, drawn, finished, request_for, take_lease_away

MANY = 300  # samples; more than any script takes in one call


@pytest.fixture
async def failing(redis: Redis, queue: Queues) -> AsyncIterator[Failing]:
    """A Redis that goes away between two scripts, if a test says so."""
    yield Failing(redis)
    await audit_pool(redis)


@pytest.fixture
def unaudited(redis: Redis) -> Queues:
    """A queue for jobs with results that nobody drew."""
    return queues_on(redis)


def over(failing: Failing, queue: Queues) -> Queues:
    return queues_of(queue.store.over(failing))  # type: ignore[arg-type]  # it behaves like one


async def test_a_commit_that_was_interrupted_between_two_parts_is_sent_again(
    queue: Queues, failing: Failing
) -> None:
    job = await queue.clients.submit(request_for(count=MANY))
    everything = [finished(claim) for claim in await claim_from(queue, limit=MANY)]
    failing.after_scripts(2)
    with pytest.raises(Unavailable):  # given a worker that heard of none of its rows, though Redis has some
        await over(failing, queue).workers.commit("anna", everything)
    assert 0 < (await queue.clients.get(job.id)).done < MANY
    replies = await queue.workers.commit("anna", everything)
    verdicts = {reply.verdict for reply in replies}
    assert verdicts == {Verdict.DUPLICATE, Verdict.ACCEPTED}  # then each part counts once
    assert [place for place, reply in enumerate(replies) if reply.ends_job] == [MANY - 1]
    now = await queue.clients.get(job.id)
    assert (now.state, now.done) == (JobState.SUCCEEDED, MANY)


async def test_samples_of_large_pictures_are_claimed_and_committed_one_after_another(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(rows=1000, columns=1000, count=4))
    for claim in await claim_from(queue, limit=4):
        rows = Progress(
            job=job.id,
            index=claim.index,
            token=claim.token,
            first_row=0,
            pixels=bytes(999_000),
            outcome=Released(),
        )
        await queue.workers.commit("anna", [rows])
    claims = await claim_from(queue, limit=4)
    assert 0 < len(claims) < 4
    claims += await claim_from(queue, limit=4)
    last_rows = [  # which are short, but each of them completes a picture of a megabyte
        Progress(
            job=c.job, index=c.index, token=c.token, first_row=999, pixels=bytes(1000), outcome=Finished(-1)
        )
        for c in claims
    ]
    replies = await queue.workers.commit("anna", last_rows)
    assert [(reply.verdict, reply.rows) for reply in replies] == [(Verdict.ACCEPTED, 1000)] * 4
    assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED


async def test_a_worker_that_is_killed_while_it_leaves_loses_nothing(
    queue: Queues, redis: Redis, failing: Failing
) -> None:
    job = await queue.clients.submit(request_for(count=MANY))
    claims = await claim_from(queue, limit=MANY)
    await queue.workers.commit("anna", [drawn(claim, 0, 1) for claim in claims])
    failing.after_scripts(2)
    with pytest.raises(Unavailable):
        await over(failing, queue).workers.leave("anna")
    given_back = (await queue.upkeep.depth()).ready_samples
    assert 0 < given_back < MANY
    assert await take_lease_away(queue, redis, "anna") == MANY - given_back  # then the rest is recovered
    await finish_all(queue, "bert")
    assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED


async def test_a_recovery_that_stops_half_way_is_continued_by_another(
    queue: Queues, redis: Redis, failing: Failing
) -> None:
    await queue.clients.submit(request_for(count=MANY))
    claims = await claim_from(queue, limit=MANY)
    await queue.workers.commit("anna", [drawn(claim, 0, 1) for claim in claims])
    failing.after_scripts(2)
    with pytest.raises(Unavailable):
        await take_lease_away(over(failing, queue), redis, "anna")
    assert 0 < (await queue.upkeep.depth()).ready_samples < MANY
    await queue.upkeep.recover()
    assert (await queue.upkeep.depth()).ready_samples == MANY


async def test_more_samples_than_one_call_hands_out_are_released_and_claimed_again(queue: Queues) -> None:
    await queue.clients.submit(request_for(count=MANY))
    claims = await claim_from(queue, limit=MANY)
    await queue.workers.commit("anna", [drawn(claim, 0, 2, Released()) for claim in claims])
    again = await claim_from(queue, "bert", limit=MANY)
    assert {claim.index for claim in again} == set(range(MANY))
    assert {len(claim.pixels) for claim in again} == {len(drawn(claims[0], 0, 2).pixels)}


async def test_a_job_that_ended_is_forgotten_in_parts_whoever_does_them(
    unaudited: Queues, redis: Redis
) -> None:
    queue, failing = unaudited, Failing(redis)
    due, deleted, damaged = [await a_long_job(queue, redis) for _ in range(3)]
    await redis.hset(queue.store.keys.job(damaged), "count", "many")
    await queue.clients.delete(damaged)
    await queue.clients.delete(deleted)
    await redis.zadd(queue.store.keys.prefix + "expiry", {f"{due} ": 1})
    failing.after_scripts(2)
    with pytest.raises(Unavailable):
        await over(failing, queue).upkeep.expire()
    assert await results_of(redis, deleted)
    await queue.upkeep.expire()  # then anyone goes on
    for job_id in (due, deleted, damaged):
        assert not await results_of(redis, job_id)
    assert not await redis.exists(queue.store.keys.prefix + "chores")


async def test_all_results_of_a_long_job_get_a_ttl(unaudited: Queues, redis: Redis) -> None:
    job_id = await a_long_job(unaudited, redis)
    await unaudited.upkeep.expire()
    names = await results_of(redis, job_id)
    assert len(names) == CHUNKS
    assert all([await redis.pttl(name) > 0 for name in names])


async def test_samples_that_were_given_back_are_forgotten_in_parts_when_their_job_is_cancelled(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.clients.submit(request_for(count=MANY))
    claims = await claim_from(queue, limit=MANY)
    await queue.workers.commit("anna", [drawn(claim, 0, 1, Released()) for claim in claims])
    assert (
        await queue.clients.cancel(job.id)
    ).state is JobState.CANCELLED  # given a job that is over at once
    pattern = queue.store.keys.pixels(job.id, 0)[:-1] + "*"
    assert 0 < len(await redis.keys(pattern)) < MANY  # though its rows are not gone
    await queue.upkeep.expire()
    assert not await redis.keys(pattern)


CHUNKS = 200


async def a_long_job(queue: Queues, redis: Redis) -> str:
    """A job that ended with many results, which were written without being drawn."""
    job = await queue.clients.submit(request_for(count=CHUNKS * CHUNK))
    for index in range(0, job.request.count, CHUNK):
        await redis.hset(queue.store.keys.result(job.id, index), str(index), "+1\n-1.5\ncpu\nrows")
    await queue.clients.cancel(job.id)
    return job.id


async def results_of(redis: Redis, job_id: str) -> list[bytes | str]:
    return await redis.keys(f"*result:{job_id}:*")


async def finish_all(queue: Queues, worker: str) -> None:
    while claims := await claim_from(queue, worker, limit=MANY):
        await queue.workers.commit(worker, [finished(claim) for claim in claims])
