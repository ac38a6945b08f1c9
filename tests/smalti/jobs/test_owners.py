"""A client sees, cancels and deletes its own jobs only; to others they look like jobs that do not exist."""

from typing import Any

import pytest
from redis.asyncio import Redis

from smalti.errors import JobNotFound, NotPermitted, RequestConflict, SmaltiError
from smalti.jobs.job import JobState
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.smalti.jobs.story import ADMIN, ANNE, BEN, Asking, Counting, claim_from, finished, request_for

UNKNOWN = "aaaaaaaaaaaa"


async def test_a_job_has_the_name_of_the_client_that_submitted_it(queue: Queues) -> None:
    job = await queue.of(ANNE).submit(request_for())
    assert job.client == "anne"
    assert (await queue.of(ANNE).get(job.id)) == job
    assert (await queue.of(ANNE).refresh(job)) == job


async def test_another_client_does_not_see_it(queue: Queues) -> None:
    job = await queue.of(ANNE).submit(request_for())
    stranger = queue.of(BEN)
    for call in (stranger.get, stranger.cancel, stranger.delete):
        with pytest.raises(JobNotFound):
            await call(job.id)
    assert (await queue.of(ANNE).get(job.id)).state is JobState.QUEUED


@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_job_of_somebody_else_is_refused_in_the_same_words_as_none(
    queue: Queues, has_ended: bool
) -> None:
    job = await queue.of(ANNE).submit(request_for())
    if has_ended:
        await queue.of(ANNE).cancel(job.id)
    stranger = queue.of(BEN)
    for call in (stranger.get, stranger.cancel, stranger.delete):
        theirs, none = [await said(call(job_id)) for job_id in (job.id, UNKNOWN)]
        assert theirs.replace(job.id, UNKNOWN) == none


async def said(call: Any) -> str:
    with pytest.raises(SmaltiError) as refused:
        await call
    return f"{type(refused.value).__name__}: {refused.value}"


async def test_a_job_of_somebody_else_costs_as_many_round_trips_as_none(redis: Redis) -> None:
    counting = Counting(redis)
    queue = queues_on(counting)  # type: ignore[arg-type]  # it behaves like one
    job = await queue.of(ANNE).submit(request_for())
    stranger = queue.of(BEN)
    for call in (stranger.get, stranger.cancel, stranger.delete):
        await said(call(UNKNOWN))  # Redis knows the script now
        theirs, none = [await counting.taken_by(said(call(job_id))) for job_id in (job.id, UNKNOWN)]
        assert theirs == none


async def test_each_client_lists_its_own_jobs(queue: Queues) -> None:
    ours, theirs = await queue.of(ANNE).submit(request_for()), await queue.of(BEN).submit(request_for())
    assert (await queue.of(ANNE).list(limit=9))[0] == [ours]
    assert (await queue.of(BEN).list(limit=9))[0] == [theirs]
    assert (await queue.of(Asking("new")).list(limit=9))[0] == []


async def test_pages_of_one_client_pass_over_the_jobs_of_others(queue: Queues) -> None:
    for _ in range(3):
        await queue.of(BEN).submit(request_for())
        await queue.of(ANNE).submit(request_for())
    first, token = await queue.of(ANNE).list(limit=2)
    rest, end = await queue.of(ANNE).list(limit=2, page_token=token)
    assert ([job.client for job in (*first, *rest)], len(first), end) == (["anne"] * 3, 2, "")


async def test_a_client_that_asks_for_the_jobs_of_another_is_told_that_only_admins_see_them(
    queue: Queues,
) -> None:
    await queue.of(ANNE).submit(request_for())
    own = await queue.of(BEN).submit(request_for())
    for name in ("anne", "nobody", ""):  # the same answer for all: it tells no names
        with pytest.raises(NotPermitted, match="Only admins see the jobs of other clients"):
            await queue.of(BEN).list(limit=9, client=name)
    assert (await queue.of(BEN).list(limit=9, client="ben"))[0] == [own]


async def test_an_admin_sees_cancels_and_deletes_the_jobs_of_all(queue: Queues) -> None:
    job, other = await queue.of(ANNE).submit(request_for()), await queue.of(BEN).submit(request_for())
    admin = queue.of(ADMIN)
    assert (await admin.list(limit=9))[0] == [other, job]
    assert (await admin.list(limit=9, client="anne"))[0] == [job]
    assert (await admin.cancel(job.id)).state is JobState.CANCELLED
    await admin.delete(job.id)
    assert (await admin.list(limit=9))[0] == [other]


async def test_jobs_from_before_there_were_tokens_belong_to_admins_only(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    assert await queue.of(ADMIN).get(job.id) == job
    assert (await queue.of(ADMIN).list(limit=9, client=""))[0] == [job]
    with pytest.raises(JobNotFound):
        await queue.of(ANNE).get(job.id)


async def test_two_clients_with_one_request_id_do_not_meet(queue: Queues) -> None:
    ours = await queue.of(ANNE).submit(request_for(seed=1), request_id="one")
    theirs = await queue.of(BEN).submit(request_for(seed=2), request_id="one")
    assert ours.id != theirs.id
    assert await queue.of(ANNE).submit(request_for(seed=1), request_id="one") == ours
    with pytest.raises(RequestConflict) as refused:
        await queue.of(BEN).submit(request_for(seed=1), request_id="one")
    assert (theirs.id in str(refused.value), ours.id in str(refused.value)) == (True, False)


@pytest.mark.parametrize("name", ["anne ben", "x:jobs", "{default}", "ünï", "jobs"])
async def test_a_name_may_have_any_characters(queue: Queues, name: str) -> None:
    client = queue.of(Asking(name))
    job = await client.submit(request_for(), request_id="one")
    assert (await client.list(limit=9))[0] == [job]
    await client.cancel(job.id)
    await client.delete(job.id)
    assert (await client.list(limit=9))[0] == []


async def test_an_expired_job_leaves_the_list_of_its_client(queue: Queues, until: Until) -> None:
    job = await queue.of(ANNE).submit(request_for(retention_seconds=0.01))
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [finished(claim)])
    assert await until(queue.upkeep.expire) == 1
    assert (await queue.of(ANNE).list(limit=9))[0] == []
    with pytest.raises(JobNotFound):
        await queue.of(ANNE).get(job.id)


async def test_a_job_whose_record_redis_removed_first_leaves_the_list_too(
    queue: Queues, redis: Redis, until: Until
) -> None:
    job = await queue.of(ANNE).submit(request_for(retention_seconds=0.01))
    await queue.of(ANNE).cancel(job.id)
    await redis.delete(queue.store.keys.job(job.id))  # given that nobody called `expire` for a minute
    assert await until(queue.upkeep.expire) == 1
    assert (await queue.upkeep.recount(every_seconds=0)).wrong_totals > 0
    assert not await redis.exists(queue.store.keys.jobs_of("anne"))
