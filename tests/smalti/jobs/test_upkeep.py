"""The upkeep of a queue: recover, expire, depth; `check` is tested in test_connection.py."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from smalti.errors import JobNotFound
from smalti.jobs.job import JobState, QueueDepth
from smalti.jobs.keys import Keys
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.smalti.jobs.story import ROWS, claim_from, drawn, finished, request_for, take_lease_away

PREFIX = Keys("default").prefix


async def test_after_an_outage_every_worker_first_gets_a_fresh_lease(redis: Redis, until: Until) -> None:
    queue = queues_on(redis, lease_seconds=0.2)
    await queue.clients.submit(request_for())
    await claim_from(queue, "anna")
    await queue.upkeep.recover()
    workers = PREFIX + "workers"
    now = (await redis.time())[0] * 1000
    await redis.hset(PREFIX + "meta", "recovered", str(now - 60_000))  # nobody recovered for a minute
    await redis.zadd(workers, {"anna": now - 50_000})
    assert await queue.upkeep.recover() == 0
    assert (await redis.zscore(workers, "anna") or 0) > now
    assert await until(queue.upkeep.recover) == 1  # and she stays silent


async def beat_after(redis: Redis, queue: Queues, silence_ms: int) -> int:
    """Recover as if the last recovery were this long ago: all times in Redis are moved into the past."""
    for name in ("recovered", "outage"):
        await redis.hincrby(PREFIX + "meta", name, -silence_ms)
    workers: Any = await redis.zrange(PREFIX + "workers", 0, -1)  # without scores: only names
    for worker in workers:
        await redis.zincrby(PREFIX + "workers", -silence_ms, worker)
    return await queue.upkeep.recover()


@pytest.mark.parametrize("gap", [0.6, 1.1, 2.5])
async def test_a_dead_worker_loses_its_samples_even_if_every_recovery_is_late(
    queue: Queues, redis: Redis, gap: float
) -> None:
    lease_ms = 60_000
    await queue.clients.submit(request_for(count=2))
    await queue.upkeep.recover()
    await claim_from(queue, "dead")
    await claim_from(queue, "alive")
    recovered = []
    for _ in range(8):
        recovered.append(await beat_after(redis, queue, int(gap * lease_ms)))
        assert await queue.workers.renew("alive")
    assert sum(recovered) == 1
    assert not await queue.workers.renew("dead")


async def test_a_live_worker_keeps_its_samples_through_two_outages_in_a_row(
    queue: Queues, redis: Redis
) -> None:
    await queue.clients.submit(request_for())
    await queue.upkeep.recover()
    await claim_from(queue, "alive")
    assert [await beat_after(redis, queue, ms) for ms in (600_000, 10_000, 3_600_000)] == [0, 0, 0]
    assert await queue.workers.renew("alive")


async def test_a_clock_that_jumps_back_does_not_make_leases_long(redis: Redis, until: Until) -> None:
    queue = queues_on(redis, lease_seconds=0.2)
    await queue.clients.submit(request_for())
    await claim_from(queue, "anna")
    now = (await redis.time())[0] * 1000
    await redis.hset(PREFIX + "meta", "recovered", str(now + 60_000))
    await redis.zadd(PREFIX + "workers", {"anna": now + 60_000})
    assert await until(queue.upkeep.recover) == 1


async def test_a_sample_fails_after_three_crashes_without_a_row(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for())
    for worker in ("one", "two", "three"):
        assert (await queue.clients.get(job.id)).state is not JobState.FAILED
        await claim_from(queue, worker)
        await take_lease_away(queue, redis, worker)
    ended = await queue.clients.get(job.id)
    assert (ended.state, ended.failed) == (JobState.FAILED, 1)
    [result] = [result async for result in queue.watchers.results(job)]
    assert "3 workers" in result.error


async def test_a_committed_row_clears_the_count_of_crashes(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for())
    for row in range(ROWS):
        [claim] = await claim_from(queue, f"first-{row}")
        await take_lease_away(queue, redis, f"first-{row}")
        [claim] = await claim_from(queue, f"second-{row}")
        await queue.workers.commit(f"second-{row}", [drawn(claim, row, row + 1)])
        await take_lease_away(queue, redis, f"second-{row}")
    assert (await queue.clients.get(job.id)).failed == 0


async def test_ten_recoverers_at_once_give_a_sample_back_once(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for(count=700))
    await claim_from(queue, "gone", limit=600)
    await queue.upkeep.recover()
    await redis.zadd(PREFIX + "workers", {"gone": 1})
    assert sum(await asyncio.gather(*(queue.upkeep.recover() for _ in range(10)))) == 600
    assert (await queue.upkeep.depth()).ready_samples == 700
    claims = await claim_from(queue, "anna", limit=999)
    assert len(claims) == 101  # the fresh ones and one suspect


async def test_a_job_is_forgotten_when_its_retention_has_passed(
    queue: Queues, redis: Redis, until: Until
) -> None:
    kept = await queue.clients.submit(request_for())
    job = await queue.clients.submit(request_for(retention_seconds=0.05), request_id="one")
    await queue.clients.cancel(job.id)
    await queue.clients.cancel(kept.id)
    assert await until(queue.upkeep.expire) == 1
    with pytest.raises(JobNotFound):
        await queue.clients.get(job.id)
    assert [found.id for found in (await queue.clients.list(limit=9))[0]] == [kept.id]
    assert not [name async for name in redis.scan_iter(f"*{job.id}*")]


async def test_the_depth_counts_jobs_samples_and_workers(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for(count=5))
    waiting = await queue.clients.submit(request_for(count=7, digest="digest-b"))
    await claim_from(queue, limit=2)
    assert waiting.created
    await redis.zadd("smalti:{default}:queued", {waiting.id: (waiting.created - 100) * 1000})
    depth = await queue.upkeep.depth()
    assert depth == QueueDepth(
        queued_jobs=1,
        paused_jobs=0,
        running_jobs=1,
        ready_samples=10,
        running_samples=2,
        workers=1,
        oldest_seconds=depth.oldest_seconds,
    )
    assert 100 <= depth.oldest_seconds < 130


async def test_a_worker_is_never_reported_to_run_more_samples_than_it_has_slots(queue: Queues) -> None:
    old, new = [await queue.clients.submit(request_for(count=3)) for _ in range(2)]

    async def running() -> tuple[int, int, int]:
        now = [(await queue.clients.get(job.id)).running for job in (old, new)]
        return now[0], now[1], (await queue.upkeep.depth()).running_samples

    first = await claim_from(queue, limit=2, slots=2)
    assert await running() == (1, 1, 2)  # they take turns
    second = await claim_from(queue, limit=2, slots=2)  # while the last rows of those are on their way
    assert await running() == (1, 1, 2)
    third = await claim_from(queue, "bert", limit=2)  # whose slots are not known
    assert await running() == (2, 2, 4)
    await queue.workers.commit("anna", [finished(claim) for claim in first])
    assert await running() == (2, 2, 4)
    await queue.workers.commit("anna", [finished(claim) for claim in second])
    await queue.workers.commit("bert", [finished(claim) for claim in third])
    assert await running() == (0, 0, 0)
