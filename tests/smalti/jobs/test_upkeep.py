"""How much is in the queue. (test_connection.py tests check, test_clients.py expire, test_workers.py recover.)"""

from redis.asyncio import Redis

from smalti.jobs.job import QueueDepth
from tests.queues import Queues
from tests.smalti.jobs.story import claim_from, finished, request_for


async def test_the_depth_counts_jobs_samples_and_workers(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for(count=5))
    waiting = await queue.clients.submit(request_for(count=7, digest="digest-b"))
    await claim_from(queue, limit=2)
    assert waiting.created
    await redis.zadd("smalti:{default}:queued", {waiting.id: (waiting.created - 100) * 1000})
    depth = await queue.upkeep.depth()
    assert depth == QueueDepth(
        queued_jobs=1,
        running_jobs=1,
        ready_samples=10,
        running_samples=2,
        workers=1,
        oldest_seconds=depth.oldest_seconds,
    )
    assert 100 <= depth.oldest_seconds < 130


async def test_no_more_samples_run_than_their_worker_has_slots(queue: Queues) -> None:
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
