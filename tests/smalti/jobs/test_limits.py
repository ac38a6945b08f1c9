"""Jobs, pixels and bytes of results are limited, for each client and for the pool; ended results count."""

from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from smalti.errors import InvalidRequest, JobNotFound, LimitReached, QueueFull
from smalti.jobs.codec import encode_request
from smalti.jobs.job import JobRequest
from smalti.jobs.keys import Keys
from smalti.jobs.limits import RECORD_BYTES, RESULT_BYTES, ClientLimits, QueueLimits
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import ADMIN, ANNE, BEN, Asking, claim_from, finished, request_for

PIXELS = 12  # of a sample


def limited(redis: Redis, **limits: int) -> Queues:
    """A queue with these limits of each client."""
    return queues_on(redis, limits=QueueLimits(client=ClientLimits(**limits)), lease_seconds=60)


async def used(redis: Redis, what: str, client: str | None = None) -> int:
    field = what if client is None else f"{what} {client}"
    return int(await redis.hget(Keys("default").totals, field) or 0)


def job_bytes(request: JobRequest) -> int:
    record = RECORD_BYTES + len(encode_request(request)) + len(request.kept)
    return record + request.count * (RESULT_BYTES + request.rows * request.row_bytes)


async def draw_all(queue: Queues) -> None:
    while claims := await claim_from(queue, limit=100):
        await queue.workers.commit("anna", [finished(claim) for claim in claims])


async def test_a_client_with_as_many_unfinished_jobs_as_it_may_have_is_refused(redis: Redis) -> None:
    queue = limited(redis, jobs=2)
    jobs = [await queue.of(ANNE).submit(request_for()) for _ in range(2)]
    with pytest.raises(LimitReached, match="You have 2 of at most 2 unfinished jobs: wait") as refused:
        await queue.of(ANNE).submit(request_for())
    assert refused.value.retry_seconds == 5.0  # nothing was drawn yet, so the rate is unknown
    await queue.of(BEN).submit(request_for())
    await queue.of(ANNE).cancel(jobs[0].id)
    await queue.of(ANNE).submit(request_for())
    await audit_pool(redis)


async def test_a_request_sent_again_is_not_refused(redis: Redis) -> None:
    queue = limited(redis, jobs=1)
    job = await queue.of(ANNE).submit(request_for(), request_id="one")
    assert (await queue.of(ANNE).submit(request_for(), request_id="one")).id == job.id


async def test_the_pixels_of_a_client_are_freed_sample_by_sample(redis: Redis) -> None:
    queue = limited(redis, pixels=2 * PIXELS)
    await queue.of(ANNE).submit(request_for(count=2))
    with pytest.raises(LimitReached, match=r"24 pixels to draw.*limit of 24"):
        await queue.of(ANNE).submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [finished(claim)])
    await queue.of(ANNE).submit(request_for())
    await audit_pool(redis)


async def test_ended_results_count_until_their_job_is_deleted(redis: Redis) -> None:
    size = job_bytes(request_for())
    queue = limited(redis, result_bytes=2 * size)
    jobs = [await queue.of(ANNE).submit(request_for()) for _ in range(2)]
    await draw_all(queue)
    with pytest.raises(LimitReached, match=rf"take {2 * size} bytes.*limit of {2 * size}: delete jobs"):
        await queue.of(ANNE).submit(request_for())
    await queue.of(ANNE).delete(jobs[0].id)
    await queue.of(ANNE).submit(request_for())
    await audit_pool(redis)


async def test_results_that_are_still_to_come_count_too(redis: Redis) -> None:
    queue = limited(redis, result_bytes=job_bytes(request_for(count=9)))
    job = await queue.of(ANNE).submit(request_for(count=9))
    with pytest.raises(LimitReached):
        await queue.of(ANNE).submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [finished(claim)])
    await queue.of(ANNE).cancel(job.id)
    assert await used(redis, "bytes", "anne") == job_bytes(request_for(count=9)) - 8 * (RESULT_BYTES + PIXELS)
    await audit_pool(redis)


async def test_ended_results_count_until_they_expire(redis: Redis, until: Until) -> None:
    queue = limited(redis, result_bytes=job_bytes(request_for(retention_seconds=0.01)))
    await queue.of(ANNE).submit(request_for(retention_seconds=0.01))
    await draw_all(queue)
    with pytest.raises(LimitReached):
        await queue.of(ANNE).submit(request_for(retention_seconds=0.01))
    await until(queue.upkeep.expire)
    await queue.of(ANNE).submit(request_for(retention_seconds=0.01))
    await audit_pool(redis)


async def test_the_retry_delay_is_the_time_until_results_expire(redis: Redis) -> None:
    queue = limited(redis, result_bytes=job_bytes(request_for(retention_seconds=100)))
    await queue.of(ANNE).submit(request_for(retention_seconds=100))
    with pytest.raises(LimitReached) as refused:
        await queue.of(ANNE).submit(request_for(retention_seconds=100))
    assert refused.value.retry_seconds == 600  # the job has not ended: nobody knows
    await draw_all(queue)
    with pytest.raises(LimitReached) as refused:
        await queue.of(ANNE).submit(request_for(retention_seconds=100))
    assert 40 < refused.value.retry_seconds <= 100


async def test_the_pool_refuses_results_that_are_too_many_for_it(redis: Redis) -> None:
    size = job_bytes(request_for())
    queue = queues_on(redis, limits=QueueLimits(result_bytes=3 * size))
    for client in (ANNE, BEN, ADMIN):
        await queue.of(client).submit(request_for())
    await draw_all(queue)
    with pytest.raises(QueueFull, match=rf"take {3 * size} bytes"):
        await queue.of(ANNE).submit(request_for())
    with pytest.raises(QueueFull):
        await queue.clients.submit(request_for())
    await audit_pool(redis)


async def test_two_thousand_small_jobs_with_a_long_retention_cannot_fill_a_small_redis(redis: Redis) -> None:
    week = 7 * 86400.0
    queue = queues_on(redis, limits=QueueLimits(result_bytes=1_000_000))
    before = int((await redis.info("memory"))["used_memory"])
    small = request_for(retention_seconds=week)
    for number in range(2000):
        with suppress(QueueFull):
            await queue.clients.submit(small, request_id=f"{number}")
    await draw_all(queue)
    assert await used(redis, "bytes") > 900_000
    assert int((await redis.info("memory"))["used_memory"]) - before < 1_500_000


async def test_without_tokens_only_the_pool_limits(redis: Redis) -> None:
    queue = limited(redis, jobs=1, pixels=PIXELS, result_bytes=1)
    for _ in range(3):
        await queue.clients.submit(request_for(count=2))


async def test_a_clients_own_limits_stand_over_the_usual_ones(redis: Redis) -> None:
    queue = limited(redis, jobs=1, pixels=PIXELS)
    generous = Asking("big", limits=ClientLimits(jobs=2, pixels=10 * PIXELS))
    strict = Asking("small", limits=ClientLimits(jobs=0))
    for _ in range(2):
        await queue.of(generous).submit(request_for(count=2))
    with pytest.raises(LimitReached, match="at most 2"):
        await queue.of(generous).submit(request_for())
    with pytest.raises(LimitReached, match="You have 0 of at most 0"):
        await queue.of(strict).submit(request_for())
    await queue.of(Asking("usual", limits=ClientLimits(pixels=5 * PIXELS))).submit(request_for(count=5))


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"pixels": 5 * PIXELS}, "72 pixels.*may have.*60"), ({"result_bytes": 100}, "bytes of results.*100")],
)
async def test_a_job_larger_than_the_client_may_ever_have_is_invalid(
    redis: Redis, limits: dict[str, Any], words: str
) -> None:
    queue = limited(redis, **limits)
    with pytest.raises(InvalidRequest, match=words):
        await queue.of(ANNE).submit(request_for(count=6))
    assert (await queue.of(ANNE).list(limit=9))[0] == []


async def test_an_admin_that_deletes_a_job_frees_its_owners_room(redis: Redis) -> None:
    queue = limited(redis, jobs=1)
    job = await queue.of(ANNE).submit(request_for())
    await queue.of(ADMIN).cancel(job.id)
    await queue.of(ADMIN).delete(job.id)
    await queue.of(ANNE).submit(request_for())
    with pytest.raises(JobNotFound):
        await queue.of(ANNE).get(job.id)
    await audit_pool(redis)
