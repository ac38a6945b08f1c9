"""A worker dies at the worst moments; Redis comes back with the end of its file cut off; cancels race last samples."""

import asyncio
import os
from pathlib import Path

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.jobs.connection import connect
from smalti.jobs.job import Finished, JobState
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import (
    ROWS,
    claim_from,
    drawn,
    finished,
    request_for,
    rows_of,
    take_lease_away,
)


async def test_a_worker_that_dies_between_its_last_row_and_the_end_leaves_one_result(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue, "dead")
    await queue.workers.commit("dead", [drawn(claim, 0, ROWS)])
    await take_lease_away(queue, redis, "dead")
    [again] = await claim_from(queue, "heir")
    assert again.pixels == rows_of(0, 0, ROWS)  # nothing is left to draw
    await queue.workers.commit("heir", [drawn(again, ROWS, ROWS, Finished(-1.5))])
    [late] = await queue.workers.commit("dead", [drawn(claim, ROWS, ROWS, Finished(-9.9))])
    assert late.verdict == "FENCED"
    [result] = [result async for result in queue.watchers.results(job)]
    assert (result.pixels, result.log_probability) == (rows_of(0, 0, ROWS), -1.5)
    assert (await queue.clients.get(job.id)).done == 1


def newest_file(server: PrivateRedis) -> Path:
    """The append-only file that Redis writes; later versions have several."""
    return max(server.folder.rglob("*.aof"), key=lambda path: path.stat().st_mtime)


@pytest.mark.parametrize("lost_bytes", [1, 40, 300, 2000, 6000])
async def test_a_file_whose_end_was_cut_off_is_loaded_and_everything_is_drawn(
    own_redis: PrivateRedis, lost_bytes: int
) -> None:
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis, lease_seconds=60)
        jobs = [await queue.clients.submit(request_for(count=3, seed=seed)) for seed in range(3)]
        claims = await claim_from(queue, "anna", limit=6)
        await queue.workers.commit("anna", [drawn(claim, 0, 2) for claim in claims])
        await queue.workers.commit("anna", [drawn(claim, 2, ROWS, Finished(-1.5)) for claim in claims[:3]])
        await queue.upkeep.recover()
    own_redis.kill()
    file = newest_file(own_redis)
    os.truncate(file, file.stat().st_size - lost_bytes)
    own_redis.start()
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis, lease_seconds=60)
        await queue.upkeep.check()
        assert (
            await queue.upkeep.audit(every_seconds=0) == {}
        )  # scripts are in the file as a whole, or not at all
        await audit_pool(redis)
        await take_lease_away(queue, redis, "anna")
        kept, _ = await queue.clients.list(limit=9)
        assert {job.id for job in kept} <= {job.id for job in jobs}
        for turn in range(6):
            claims = await claim_from(queue, f"heir-{turn}", limit=9)
            await queue.workers.commit(f"heir-{turn}", [finished(claim) for claim in claims])
        for job in kept:
            assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED
            results = [result async for result in queue.watchers.results(job)]
            assert [each.pixels for each in results] == [rows_of(index, 0, ROWS) for index in range(3)]
        await audit_pool(redis)


@pytest.mark.slow
async def test_a_thousand_cancels_race_the_last_sample(queue: Queues, redis: Redis) -> None:
    for turn in range(50):
        jobs = [await queue.clients.submit(request_for()) for _ in range(20)]
        claims = await claim_from(queue, limit=20)
        commits = [queue.workers.commit("anna", [finished(claim)]) for claim in claims]
        cancels = [queue.clients.cancel(job.id) for job in jobs]
        calls = [call for pair in zip(commits, cancels, strict=True) for call in pair[:: 1 - 2 * (turn % 2)]]
        await asyncio.gather(*calls)
        for job in jobs:
            ended = await queue.clients.get(job.id)
            assert ended.state in {JobState.SUCCEEDED, JobState.CANCELLED}
            assert ended.done == 1  # it was drawn to its end in any case
    assert await queue.upkeep.audit(every_seconds=0) == {}
