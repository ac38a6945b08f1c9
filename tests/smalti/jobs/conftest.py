"""What the queue's tests share."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool


@pytest.fixture
async def queue(redis: Redis) -> AsyncIterator[Queues]:
    """A queue with long leases. After each test the queue's invariants must hold."""
    yield queues_on(redis, lease_seconds=60)
    await audit_pool(redis)
