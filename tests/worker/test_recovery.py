"""Every worker looks after the queue: silent workers, old jobs, and the gauges."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from smalti.jobs.connection import connect
from smalti.jobs.job import JobState
from smalti.jobs.queue import JobQueue
from smalti.metrics import QUEUE_SAMPLES, RECOVERED_SAMPLES
from smalti.private_redis import PrivateRedis
from tests.conftest import Until
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
    queue = JobQueue(redis, lease_seconds=0.2)
    job = await queue.submit(a_request(manifest, count=3))
    await queue.claim("silent", sequence=0, digests=[manifest.digest], fingerprint="cpu", limit=3)
    before = RECOVERED_SAMPLES._value.get()
    task = asyncio.create_task(Recovery(queue).run(stopping))
    await until(lambda: RECOVERED_SAMPLES._value.get() == before + 3)
    assert (await queue.get(job.id)).running == 0
    stopping.set()
    await task


async def test_jobs_whose_retention_has_passed_are_forgotten_and_the_gauges_follow(
    redis: Redis, toy: Model, stopping: asyncio.Event, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smalti.jobs.housekeeping._EXPIRE_SECONDS", 0.05)
    monkeypatch.setattr("smalti.jobs.housekeeping._GAUGE_SECONDS", 0.05)
    manifest, _ = toy
    queue = JobQueue(redis, lease_seconds=0.2)
    waiting = await queue.submit(a_request(manifest, count=9))
    old = await queue.submit(a_request(manifest, retention_seconds=0.1))
    await queue.cancel(old.id)
    task = asyncio.create_task(Recovery(queue).run(stopping))

    async def only_one() -> bool:
        return [job.id for job in (await queue.list(limit=5))[0]] == [waiting.id]

    await until(only_one)
    await until(lambda: QUEUE_SAMPLES.labels("ready")._value.get() == 9)
    stopping.set()
    await task


async def test_recovery_goes_on_after_redis_was_away(
    own_redis: PrivateRedis, toy: Model, stopping: asyncio.Event, until: Until
) -> None:
    manifest, _ = toy
    async with connect(own_redis.url) as redis:
        queue = JobQueue(redis, lease_seconds=0.3)
        task = asyncio.create_task(Recovery(queue).run(stopping))
        job = await queue.submit(a_request(manifest, count=1))
        own_redis.kill()
        own_redis.start()
        await queue.claim("silent", sequence=0, digests=[manifest.digest], fingerprint="cpu", limit=1)

        async def given_back() -> bool:
            return (await queue.depth()).ready_samples == 1

        await until(given_back)
        assert (await queue.get(job.id)).state is JobState.RUNNING
        stopping.set()
        await task
