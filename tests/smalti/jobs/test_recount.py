"""Totals that went wrong are right again after a recount, also if jobs come, end and go meanwhile."""

import asyncio
import itertools
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import JobNotFinished
from smalti.jobs import script, upkeep
from smalti.jobs.connection import connect
from smalti.jobs.keys import Keys
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import ANNE, BEN, Asking, claim_from, finished, request_for

TOTALS = Keys("default").totals


async def jobs_in_all_states(queue: Queues) -> None:
    for client in (ANNE, BEN):
        jobs = [await queue.of(client).submit(request_for(count=3)) for _ in range(4)]
        done, *_ = await claim_from(queue, limit=4)
        await queue.workers.commit("anna", [finished(done)])
        await queue.of(client).cancel(jobs[1].id)


async def test_a_recount_of_right_totals_changes_nothing(queue: Queues, redis: Redis) -> None:
    await jobs_in_all_states(queue)
    before: Any = await redis.hgetall(TOTALS)
    assert (await queue.upkeep.recount(every_seconds=0)).wrong_totals == 0
    after: Any = await redis.hgetall(TOTALS)
    assert {name: value for name, value in before.items() if value != b"0"} == {
        name: value for name, value in after.items() if value != b"0"
    }


@pytest.mark.parametrize("total", ["jobs", "pixels anne", "bytes ben", "ready", "running", "bytes nobody"])
async def test_a_wrong_total_is_corrected_and_counted(queue: Queues, redis: Redis, total: str) -> None:
    await jobs_in_all_states(queue)
    await redis.hincrby(TOTALS, total, 1000)
    assert (await queue.upkeep.recount(every_seconds=0)).wrong_totals == 1
    await audit_pool(redis)


@pytest.mark.parametrize("garbage", ["", "many", "1e9"])
async def test_garbage_and_lost_totals_are_corrected(queue: Queues, redis: Redis, garbage: str) -> None:
    await jobs_in_all_states(queue)
    await redis.hset(TOTALS, "jobs", garbage)
    await redis.hdel(TOTALS, "pixels")
    assert (await queue.upkeep.recount(every_seconds=0)).wrong_totals == 2
    await audit_pool(redis)
    await redis.delete(TOTALS)
    await queue.upkeep.recount(every_seconds=0)


async def test_without_jobs_there_are_no_totals(queue: Queues, redis: Redis) -> None:
    await redis.hset(TOTALS, "jobs", "7")
    assert (await queue.upkeep.recount(every_seconds=0)).wrong_totals == 1
    assert not await redis.exists(TOTALS)
    await queue.of(ANNE).submit(request_for())


async def test_it_is_done_once_in_its_time_whoever_calls(queue: Queues, redis: Redis) -> None:
    await queue.upkeep.recount(every_seconds=0)
    await redis.hset(TOTALS, "jobs", "7")
    assert (await queue.upkeep.recount(every_seconds=60)).wrong_totals == 0
    found = await asyncio.gather(*(queue.upkeep.recount(every_seconds=0) for _ in range(5)))
    assert sum(each.wrong_totals for each in found) == 1


async def test_jobs_that_come_end_and_go_during_a_recount_are_counted_right(
    queue: Queues, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_RECOUNTED_AT_ONCE", 2)
    await jobs_in_all_states(queue)
    await redis.hincrby(TOTALS, "bytes anne", 5)
    run, happened = queue.store.run, 0

    async def run_and_live(transition: script.Script, *arguments: Any, **options: Any) -> Any:
        nonlocal happened
        answer = await run(transition, *arguments, **options)
        if transition is script.RECOUNT and answer[0]:
            happened += 1
            await live(queue, happened)
        return answer

    monkeypatch.setattr(queue.store, "run", run_and_live)
    assert (await queue.upkeep.recount(every_seconds=0)).wrong_totals == 1
    assert happened >= 4
    await audit_pool(redis)


async def test_totals_survive_kills_of_redis_in_the_middle_of_everything(
    own_redis: PrivateRedis, until: Until
) -> None:
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis, lease_seconds=60)
        for kill in range(4):
            lives = [asyncio.create_task(live_on(queue, client, f"{kill}")) for client in (ANNE, BEN)]
            recounts = asyncio.create_task(recount_on(queue))
            await until(partial(has_jobs, queue, 10 * (kill + 1)))
            own_redis.kill()
            for task in (*lives, recounts):
                task.cancel()
            await asyncio.gather(*lives, recounts, return_exceptions=True)
            own_redis.start()
            assert (await queue.upkeep.recount(every_seconds=0)).wrong_totals == 0
            await audit_pool(redis)


async def has_jobs(queue: Queues, number: int) -> bool:
    return int(await queue.store.redis.zcard(queue.store.keys.jobs)) >= number


async def live_on(queue: Queues, client: Asking, worker: str) -> None:
    """A client that submits, cancels and deletes, and a worker that draws, until Redis goes away."""
    worker = f"{client.name}-{worker}"
    for step in itertools.count():
        job = await queue.of(client).submit(request_for(count=2))
        claims = await claim_from(queue, worker, limit=3)
        await queue.workers.commit(worker, [finished(claim) for claim in claims])
        if step % 3 == 0:
            await queue.of(client).cancel(job.id)
        if step % 6 == 0:
            with suppress(JobNotFinished):
                await queue.of(client).delete(job.id)


async def recount_on(queue: Queues) -> None:
    while True:
        await queue.store.run(script.RECOUNT, 1, 0)


async def live(queue: Queues, step: int) -> None:
    """Something happens to the first jobs, which were counted, and to the last ones, which were not."""
    await queue.of(ANNE).submit(request_for(count=2))
    jobs, _ = await queue.clients.list(limit=20)
    for job in (jobs[-step], jobs[step]):
        await queue.clients.cancel(job.id)
    claims = await claim_from(queue, f"w{step}", limit=3)
    await queue.workers.commit(f"w{step}", [finished(claim) for claim in claims[:2]])
    await queue.workers.leave(f"w{step}")
    with suppress(JobNotFinished):
        await queue.clients.delete(jobs[-1].id)
