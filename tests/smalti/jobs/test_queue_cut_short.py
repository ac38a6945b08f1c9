"""A script that Redis ends half way, because the user's rights changed, loses no sample."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import Unavailable
from smalti.jobs.connection import connect
from smalti.jobs.job import Claim, JobState
from smalti.jobs.keys import Keys
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import ANNE, claim_from, finished, request_for, silence, take_lease_away


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


@pytest.mark.parametrize("step", ["submit", "commit", "cancel", "delete", "expire"])
@pytest.mark.parametrize("write", ["hincrby", "zadd", "zrem", "unlink", "pexpire", "xadd", "hset"])
async def test_totals_that_a_script_left_wrong_are_right_after_a_recount(
    queue: Queues, redis: Redis, step: str, write: str
) -> None:
    steps = await prepared(queue, redis)
    await redis.acl_setuser("default", enabled=True, commands=[f"-{write}"])
    with suppress(Unavailable):  # not every script uses every command
        await steps[step]()
    await redis.acl_setuser("default", enabled=True, categories=["+@all"])
    await queue.upkeep.recount(every_seconds=0)
    assert await totals(redis) == await recomputed(redis)
    assert (await queue.upkeep.recount(every_seconds=0)).wrong_totals == 0
    listed: Any = await redis.zrange(queue.store.keys.jobs, 0, -1)
    assert len((await queue.clients.list(limit=9))[0]) == len(listed)  # no list has a job that is gone


@pytest.mark.parametrize("step", ["claim", "commit", "recover", "leave", "cancel", "delete"])
@pytest.mark.parametrize(
    "write", ["hincrby", "sadd", "srem", "zadd", "zrem", "hset", "hdel", "append", "pexpire"]
)
async def test_what_a_script_left_undone_is_done_by_the_audit(
    queue: Queues, redis: Redis, step: str, write: str
) -> None:
    steps = await prepared(queue, redis)
    await redis.acl_setuser("default", enabled=True, commands=[f"-{write}"])
    with suppress(Unavailable):  # not every script uses every command
        await steps[step]()
    await redis.acl_setuser("default", enabled=True, categories=["+@all"])
    await queue.upkeep.audit(every_seconds=0)
    await queue.upkeep.recount(every_seconds=0)
    await audit_pool(redis)
    assert await queue.upkeep.audit(every_seconds=0) == {}


@pytest.mark.parametrize("write", ["hincrby", "zadd", "hset", "xadd", "set"])
async def test_a_submit_that_redis_cut_short_is_refused_or_the_job_is_drawn(
    queue: Queues, redis: Redis, write: str
) -> None:
    await redis.acl_setuser("default", enabled=True, commands=[f"-{write}"])
    with pytest.raises(Unavailable):
        await queue.of(ANNE).submit(request_for(), request_id="one")
    await redis.acl_setuser("default", enabled=True, categories=["+@all"])
    await queue.upkeep.recount(every_seconds=0)
    job = await queue.of(ANNE).submit(request_for(), request_id="one")
    while claims := await claim_from(queue, limit=9):
        await queue.workers.commit("anna", [finished(each) for each in claims])
    assert (await queue.of(ANNE).get(job.id)).state is JobState.SUCCEEDED


async def prepared(queue: Queues, redis: Redis) -> dict[str, Callable[[], Awaitable[object]]]:
    """Calls of each kind that have something to do."""
    submit = partial(queue.of(ANNE).submit, request_for(count=3))
    running, _, ended, due = [await submit() for _ in range(4)]
    await queue.of(ANNE).cancel(ended.id)
    await queue.of(ANNE).cancel(due.id)
    await redis.zadd(queue.store.keys.prefix + "expiry", {f"{due.id} anne": 1})
    claims = await claim_from(queue, limit=2)
    await claim_from(queue, "silent", limit=2)
    await queue.upkeep.recover()
    await silence(redis, "silent")
    return {
        "submit": submit,
        "claim": partial(claim, queue, 0),
        "recover": queue.upkeep.recover,
        "leave": partial(queue.workers.leave, "anna"),
        "commit": partial(queue.workers.commit, "anna", [finished(each) for each in claims]),
        "cancel": partial(queue.of(ANNE).cancel, running.id),
        "delete": partial(queue.of(ANNE).delete, ended.id),
        "expire": queue.upkeep.expire,
    }


async def totals(redis: Redis) -> dict[str, int]:
    found: Any = await redis.hgetall(Keys("default").totals)
    return {name.decode(): int(value) for name, value in found.items() if int(value)}


async def recomputed(redis: Redis) -> dict[str, int]:
    """Jobs and bytes by the records in Redis."""
    known = await totals(redis)
    for what in ("jobs", "bytes"):
        known.pop(what, None)
        known.pop(f"{what} anne", None)
    sums: Counter[str] = Counter()
    async for name in redis.scan_iter(Keys("default").prefix + "job:*"):
        found: Any = await redis.hgetall(name)
        job = {field.decode(): value.decode() for field, value in found.items()}
        samples = int(job["count"]) - int(job["cancelled"])
        numbers = {
            "jobs": int(job["state"] in ("QUEUED", "RUNNING", "CANCELLING")),
            "bytes": int(job["job_bytes"]) + samples * int(job["sample_bytes"]) + int(job["kept_bytes"]),
        }
        sums.update(numbers | {f"{what} anne": number for what, number in numbers.items()})
    return known | +sums


async def claim(queue: Queues, sequence: int) -> list[Claim]:
    return await queue.workers.claim(
        "third", sequence=sequence, digests=["digest-a"], fingerprint="cpu", limit=9
    )
