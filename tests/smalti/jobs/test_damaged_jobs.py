"""A record of a job that somebody damaged in Redis concerns that job alone: the others go on."""

import pytest
from redis.asyncio import Redis

from smalti.errors import JobDamaged, JobNotFound
from smalti.jobs.job import JobState, Verdict
from smalti.jobs.keys import Keys
from tests.queues import Queues
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import (
    ADMIN,
    ANNE,
    BEN,
    claim_from,
    drawn,
    finished,
    request_for,
    take_lease_away,
)

OF_SCRIPTS = [
    *("state", "class", "count", "next", "done", "failed", "cancelled", "rows", "row_bytes", "sample_pixels"),
    *("job_bytes", "sample_bytes", "kept_bytes", "retention", "created", "deadline", "serial"),
]
GARBAGE = ["", "-1", "nan", "0x10", "1e3", "99999999999999999999", "\x00\xff"]


def record(job_id: str) -> str:
    return Keys("default").job(job_id)


@pytest.mark.parametrize(
    "field", [*OF_SCRIPTS, "reason", "digest", "fingerprint", "request_key", "request", "kept"]
)
async def test_a_job_with_a_missing_field_is_damaged_and_the_others_go_on(
    queue: Queues, redis: Redis, field: str
) -> None:
    bad, good = [await queue.of(ANNE).submit(request_for(count=2)) for _ in range(2)]
    await redis.hdel(record(bad.id), field)
    await expect_damage(queue, bad.id)
    await draw_good(queue, good.id)
    await forget(queue, bad.id)


@pytest.mark.parametrize(
    ("field", "garbage"),
    [("next", garbage) for garbage in GARBAGE] + [(field, "?") for field in (*OF_SCRIPTS, "request", "kept")],
)
async def test_a_job_with_garbage_in_a_field_is_damaged_and_the_others_go_on(
    queue: Queues, redis: Redis, field: str, garbage: str
) -> None:
    bad, good = [await queue.of(ANNE).submit(request_for(count=2)) for _ in range(2)]
    await redis.hset(record(bad.id), field, garbage)
    await expect_damage(queue, bad.id)
    await draw_good(queue, good.id)
    await forget(queue, bad.id)


async def expect_damage(queue: Queues, job_id: str) -> None:
    """Its owner hears of the damage, a stranger does not, and List goes on."""
    with pytest.raises(JobDamaged, match=f"job {job_id} in Redis is damaged: delete"):
        await queue.of(ANNE).get(job_id)
    with pytest.raises(JobNotFound):
        await queue.of(BEN).get(job_id)
    assert job_id not in [job.id for job in (await queue.of(ADMIN).list(limit=9))[0]]
    assert len((await queue.of(ANNE).list(limit=9))[0]) == 1


async def draw_good(queue: Queues, job_id: str) -> None:
    """All samples of the good job are drawn; those of the damaged one are not."""
    while claims := await claim_from(queue, limit=9) or await claim_from(queue, limit=9):
        assert {claim.job for claim in claims} == {job_id}
        await queue.workers.commit("anna", [finished(claim) for claim in claims])
    assert (await queue.of(ANNE).get(job_id)).state is JobState.SUCCEEDED


async def forget(queue: Queues, job_id: str) -> None:
    """The damaged job can be deleted, and a recount leaves everything in order."""
    await queue.of(ANNE).delete(job_id)
    with pytest.raises(JobNotFound):
        await queue.of(ANNE).get(job_id)
    await queue.upkeep.recount(every_seconds=0)
    await audit_pool(queue.store.redis)


@pytest.mark.parametrize("field", ["next", "request", "state"])
async def test_a_job_damaged_while_it_is_drawn_gives_its_slots_back(
    queue: Queues, redis: Redis, field: str
) -> None:
    bad = await queue.of(ANNE).submit(request_for(count=3))
    good = await queue.of(ANNE).submit(request_for(count=3))
    claims = await claim_from(queue, limit=4)
    await redis.hset(record(bad.id), field, "?")
    replies = await queue.workers.commit("anna", [drawn(claim, 0, 1) for claim in claims])
    expected = Verdict.ACCEPTED if field == "request" else Verdict.FENCED  # no script reads the request
    verdicts = {(claim.job, reply.verdict) for claim, reply in zip(claims, replies, strict=True)}
    assert verdicts == {(bad.id, expected), (good.id, Verdict.ACCEPTED)}
    await queue.workers.leave("anna")
    await draw_good(queue, good.id)
    await forget(queue, bad.id)


async def test_the_samples_of_a_damaged_job_do_not_stop_recovery(queue: Queues, redis: Redis) -> None:
    bad, good = [await queue.of(ANNE).submit(request_for()) for _ in range(2)]
    await claim_from(queue, "gone", limit=2)
    await redis.hset(record(bad.id), "rows", "many")
    assert await take_lease_away(queue, redis, "gone") == 2
    await draw_good(queue, good.id)
    await forget(queue, bad.id)


async def test_a_job_without_an_owner_in_its_record_is_seen_by_admins_only(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.of(ANNE).submit(request_for())
    await redis.hdel(record(job.id), "client")
    with pytest.raises(JobNotFound):
        await queue.of(ANNE).get(job.id)
    with pytest.raises(JobDamaged):
        await queue.of(ADMIN).get(job.id)
    with pytest.raises(JobDamaged):
        await queue.of(ADMIN).cancel(job.id)
    await queue.of(ADMIN).delete(job.id)
    await redis.delete(queue.store.keys.jobs_of("anne"))
    await queue.upkeep.recount(every_seconds=0)


async def test_a_damaged_result_is_damage_of_its_job_alone(queue: Queues, redis: Redis) -> None:
    bad, good = [await queue.of(ANNE).submit(request_for()) for _ in range(2)]
    await queue.workers.commit("anna", [finished(claim) for claim in await claim_from(queue, limit=2)])
    await redis.hset(queue.store.keys.result(bad.id, 0), "0", "nonsense")
    with pytest.raises(JobDamaged):
        _ = [result async for result in queue.watchers.results(bad)]
    assert len([result async for result in queue.watchers.results(good)]) == 1
    await queue.of(ANNE).delete(bad.id)


async def test_a_recount_names_the_damaged_jobs(queue: Queues, redis: Redis) -> None:
    job = await queue.of(ANNE).submit(request_for())
    await redis.hset(record(job.id), "count", "two")
    assert list((await queue.upkeep.recount(every_seconds=0)).damaged_jobs) == [job.id]
    await forget(queue, job.id)


async def test_an_ended_job_that_was_damaged_expires(queue: Queues, redis: Redis, until) -> None:
    job = await queue.of(ANNE).submit(request_for(retention_seconds=0.01))
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [finished(claim)])
    await redis.hset(record(job.id), "count", "two")
    assert await until(queue.upkeep.expire) == 1
    await queue.upkeep.recount(every_seconds=0)
    assert not [name async for name in redis.scan_iter(f"*{job.id}*")]
