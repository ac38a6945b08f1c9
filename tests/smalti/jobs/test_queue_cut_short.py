"""A script that Redis ends half way, because the user's rights changed, loses no sample."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import Unavailable
from smalti.jobs.connection import connect
from smalti.jobs.job import Claim, JobState
from tests.queues import Queues, queues_on
from tests.smalti.jobs.story import claim_from, finished, request_for, take_lease_away


@pytest.fixture
async def redis(own_redis: PrivateRedis) -> AsyncIterator[Redis]:
    """A Redis of this test alone, so that the test may change its users' rights."""
    async with connect(own_redis.url) as redis:
        yield redis


@pytest.fixture
def queue(redis: Redis) -> Queues:
    """Its queue."""
    return queues_on(redis)


@pytest.mark.parametrize("write", ["xadd", "zrem", "sadd", "hincrby", "zadd"])
async def test_a_claim_cut_short_by_redis_loses_no_sample(queue: Queues, redis: Redis, write: str) -> None:
    job = await queue.clients.submit(request_for(count=5))
    await claim_from(queue, "first", limit=2)
    await queue.workers.leave("first")  # given samples that were given back, a suspect, and fresh ones
    await claim_from(queue, "second", limit=1)
    await take_lease_away(queue, redis, "second")
    await redis.acl_setuser("default", enabled=True, commands=[f"-{write}"])
    with pytest.raises(Unavailable):
        await claim(queue, 1)
    await redis.acl_setuser("default", enabled=True, categories=["+@all"])
    for sequence in range(1, 9):  # then the worker asks again, and goes on
        claims = await claim(queue, sequence)
        await queue.workers.commit("third", [finished(each) for each in claims])
    assert ((await queue.clients.get(job.id)).state, (await queue.clients.get(job.id)).done) == (
        JobState.SUCCEEDED,
        5,
    )


async def test_a_job_that_lost_samples_can_still_be_cancelled(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=4))
    await claim_from(queue, "first", limit=2)
    await queue.workers.leave("first")
    await redis.delete(queue.store.keys.prefix + f"returned:{job.id}")  # given two samples that are in no set
    assert (await queue.clients.cancel(job.id)).state is JobState.CANCELLED
    await queue.clients.delete(job.id)


async def claim(queue: Queues, sequence: int) -> list[Claim]:
    return await queue.workers.claim(
        "third", sequence=sequence, digests=["digest-a"], fingerprint="cpu", limit=9
    )
