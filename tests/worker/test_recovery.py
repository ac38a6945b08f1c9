"""Every worker looks after the queue: it recovers samples, forgets old jobs and sets the gauges."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from statistics import median

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.jobs.connection import connect
from smalti.jobs.job import JobState
from smalti.runtime.metrics import QUEUE_SAMPLES, RECOVERED_SAMPLES
from tests.conftest import Until
from tests.line import Line
from tests.queues import Queues, queues_on
from tests.worker.conftest import Model
from tests.worker.story import a_request
from worker.recovery import Recovery


@pytest.fixture
async def stopping() -> AsyncIterator[asyncio.Event]:
    """Ends what a test has started."""
    event = asyncio.Event()
    yield event
    event.set()


async def test_samples_of_a_silent_worker_are_recovered_and_counted(
    redis: Redis, toy: Model, stopping: asyncio.Event, until: Until
) -> None:
    manifest, _ = toy
    queue = queues_on(redis, lease_seconds=0.2)
    job = await queue.clients.submit(a_request(manifest, count=3))
    await queue.workers.claim("silent", sequence=0, digests=[manifest.digest], fingerprint="cpu", limit=3)
    before = RECOVERED_SAMPLES._value.get()
    task = asyncio.create_task(Recovery(queue.upkeep).run(stopping))
    await until(lambda: RECOVERED_SAMPLES._value.get() == before + 3)
    assert (await queue.clients.get(job.id)).running == 0
    stopping.set()
    await task


async def test_jobs_are_forgotten_after_their_retention_and_the_gauges_are_updated(
    redis: Redis, toy: Model, stopping: asyncio.Event, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smalti.jobs.housekeeping._EXPIRE_SECONDS", 0.05)
    monkeypatch.setattr("smalti.jobs.housekeeping._GAUGE_SECONDS", 0.05)
    manifest, _ = toy
    queue = queues_on(redis, lease_seconds=0.2)
    waiting = await queue.clients.submit(a_request(manifest, count=9))
    old = await queue.clients.submit(a_request(manifest, retention_seconds=0.1))
    await queue.clients.cancel(old.id)
    task = asyncio.create_task(Recovery(queue.upkeep).run(stopping))

    async def only_one() -> bool:
        return [job.id for job in (await queue.clients.list(limit=5))[0]] == [waiting.id]

    await until(only_one)
    await until(lambda: QUEUE_SAMPLES.labels("ready")._value.get() == 9)
    stopping.set()
    await task


async def test_samples_are_recovered_also_if_redis_is_slow_compared_with_the_lease(
    own_redis: PrivateRedis, toy: Model, stopping: asyncio.Event, until: Until
) -> None:
    manifest, _ = toy
    url = own_redis.url
    with Line(url.removeprefix("redis://").partition("/")[0], delay_seconds=0.11) as line:  # each way
        slow = f"redis://{line.address}/0"
        async with connect(slow) as far, connect(url) as near:
            queue = queues_on(near, lease_seconds=1.0)
            task = asyncio.create_task(Recovery(queues_on(far, lease_seconds=1.0).upkeep).run(stopping))
            await queue.clients.submit(a_request(manifest, count=1))
            await until(lambda: near.hexists("smalti:{default}:meta", "recovered"))
            await queue.workers.claim(
                "silent", sequence=0, digests=[manifest.digest], fingerprint="cpu", limit=1
            )
            gaps = await recoveries_until(near, lambda: given_back(queue))
            assert median(gaps) < 400  # ms; less than half a lease, and less than two answers of Redis take
            stopping.set()
            await task


async def recoveries_until(redis: Redis, condition: Callable[[], Awaitable[bool]]) -> list[int]:
    """Milliseconds between recoveries until the condition holds."""
    times: list[int] = []
    async with asyncio.timeout(10):
        while not await condition():
            times.append(int(await redis.hget("smalti:{default}:meta", "recovered") or 0))
            await asyncio.sleep(0.01)
    return [later - earlier for earlier, later in pairwise(sorted(set(times)))]


async def given_back(queue: Queues) -> bool:
    return (await queue.upkeep.depth()).ready_samples == 1


async def test_recovery_goes_on_after_redis_was_away(
    own_redis: PrivateRedis, toy: Model, stopping: asyncio.Event, until: Until
) -> None:
    manifest, _ = toy
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis, lease_seconds=0.3)
        task = asyncio.create_task(Recovery(queue.upkeep).run(stopping))
        job = await queue.clients.submit(a_request(manifest, count=1))
        own_redis.kill()
        own_redis.start()
        await queue.workers.claim("silent", sequence=0, digests=[manifest.digest], fingerprint="cpu", limit=1)
        await until(lambda: given_back(queue))
        assert (await queue.clients.get(job.id)).state is JobState.RUNNING
        stopping.set()
        await task
