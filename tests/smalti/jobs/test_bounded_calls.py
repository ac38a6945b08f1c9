"""No call of the queue keeps Redis busy for long: large ones are done in parts, and may be interrupted between two."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from smalti.errors import Unavailable
from smalti.jobs.job import Finished, JobState, Progress, Released, Verdict
from tests.queues import Queues, queues_of
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import Failing, claim_from, drawn, finished, request_for, take_lease_away

MANY = 300  # samples; more than any script takes in one call


@pytest.fixture
async def failing(redis: Redis, queue: Queues) -> AsyncIterator[Failing]:
    """A Redis that goes away between two scripts, if a test says so."""
    yield Failing(redis)
    await audit_pool(redis)


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


async def test_samples_of_large_pictures_are_committed_one_after_another(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(rows=1000, columns=1000, count=4))
    claims = await claim_from(queue, limit=4)
    last_rows = [  # which are short, but each of them completes a picture of a megabyte
        Progress(
            job=c.job, index=c.index, token=c.token, first_row=999, pixels=bytes(1000), outcome=Finished(-1)
        )
        for c in claims
    ]
    for claim in claims:
        rows = Progress(job=job.id, index=claim.index, token=claim.token, first_row=0, pixels=bytes(999_000))
        await queue.workers.commit("anna", [rows])
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


async def finish_all(queue: Queues, worker: str) -> None:
    while claims := await claim_from(queue, worker, limit=MANY):
        await queue.workers.commit(worker, [finished(claim) for claim in claims])
