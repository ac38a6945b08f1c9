"""What the queue's tests share."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from smalti.jobs.queue import JobQueue
from tests.smalti.jobs.audit import audit_pool


@pytest.fixture
async def queue(redis: Redis) -> AsyncIterator[JobQueue]:
    """A queue whose leases do not run out by themselves; whatever a test did to it, its invariants hold at the end."""
    yield JobQueue(redis, lease_seconds=60)
    await audit_pool(redis)
