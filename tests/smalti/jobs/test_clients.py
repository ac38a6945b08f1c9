"""Submit, get, refresh, list, cancel, delete."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import InvalidRequest, JobNotFinished, JobNotFound, QueueFull, RequestConflict, Unavailable
from smalti.jobs import script
from smalti.jobs.connection import connect
from smalti.jobs.job import Failed, JobState, Verdict
from smalti.jobs.keys import Keys, request_key
from smalti.jobs.limits import QueueLimits
from smalti.jobs.reading import NO_WORKER
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import (
    ROWS,
    Counting,
    claim_from,
    drawn,
    finished,
    request_for,
    rows_of,
    silence,
    take_lease_away,
)


async def test_a_submitted_job_is_queued_with_its_whole_request(queue: Queues) -> None:
    request = request_for(count=3, seed=2**64 - 1, temperature=0.7, kept=b"\xff\xff\xff\xff" * 12)
    job = await queue.clients.submit(request)
    assert (job.request, job.state, job.done, job.running) == (request, JobState.QUEUED, 0, 0)
    [claim] = await claim_from(queue)
    assert claim.request == request


async def test_jobs_are_read_without_their_kept_pixels(queue: Queues) -> None:
    request = request_for(count=3, kept=b"\xff\xff\xff\xff" * 12)
    job = await queue.clients.submit(request)
    expected = replace(job, request=replace(request, kept=b""))
    assert await queue.clients.get(job.id) == expected
    assert await queue.clients.list(limit=1) == ([expected], "")
    assert (await queue.clients.cancel(job.id)).request == expected.request


async def test_a_job_without_a_worker_for_its_model_says_so_until_one_comes(
    queue: Queues,
) -> None:
    job = await queue.clients.submit(request_for())
    assert job.reason == NO_WORKER
    await claim_from(queue, digests=["digest-b"])
    assert (await queue.clients.get(job.id)).reason == NO_WORKER
    await claim_from(queue, limit=0)
    assert (await queue.clients.get(job.id)).reason == ""


async def test_a_worker_without_a_lease_does_not_count_as_a_worker(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for())
    await claim_from(queue, "gone", limit=0)
    await silence(redis, "gone")
    assert (await queue.clients.get(job.id)).reason == NO_WORKER


async def test_state_and_running_samples_are_read_at_the_same_moment(
    queue: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await queue.clients.submit(request_for(count=2))
    meanwhile(queue, monkeypatch, lambda: claim_from(queue, limit=2))
    found = await queue.clients.get(job.id)
    assert (found.state, found.running) == (JobState.RUNNING, 2)


async def test_a_job_that_is_forgotten_while_it_is_read_is_not_found(
    queue: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await queue.clients.cancel((await queue.clients.submit(request_for())).id)
    meanwhile(queue, monkeypatch, lambda: queue.clients.delete(job.id))
    with pytest.raises(JobNotFound):
        await queue.clients.get(job.id)


def meanwhile(queue: Queues, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[Any]]) -> None:
    """Let this happen after the queue has read a job's request and before it reads its state."""
    run = queue.store.run

    async def run_late(transition: script.Script, *arguments: Any, **options: Any) -> Any:
        if transition is script.RUNNING:
            monkeypatch.setattr(queue.store, "run", run)
            await happens()
        return await run(transition, *arguments, **options)

    monkeypatch.setattr(queue.store, "run", run_late)


@pytest.mark.parametrize("job_id", ["", "nosuchjob", "../../etc", "x" * 33, "no space", "{default}:meta"])
async def test_an_unknown_job_is_not_found(queue: Queues, job_id: str) -> None:
    for call in (queue.clients.get, queue.clients.cancel, queue.clients.delete):
        with pytest.raises(JobNotFound):
            await call(job_id)


async def test_fifty_clients_with_one_request_id_make_one_job(queue: Queues) -> None:
    jobs = await asyncio.gather(
        *(queue.clients.submit(request_for(count=9), request_id="once") for _ in range(50))
    )
    assert len({job.id for job in jobs}) == 1
    assert (await queue.upkeep.depth()).ready_samples == 9


async def test_a_request_id_used_for_another_request_conflicts(queue: Queues) -> None:
    await queue.clients.submit(request_for(seed=1), request_id="one")
    with pytest.raises(RequestConflict, match="'one'"):
        await queue.clients.submit(request_for(seed=2), request_id="one")
    with pytest.raises(RequestConflict):
        await queue.clients.submit(request_for(seed=1, kept=b"\0" * 48), request_id="one")


async def test_a_request_id_is_free_again_when_its_job_is_deleted(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(seed=1), request_id="one")
    await queue.clients.cancel(job.id)
    await queue.clients.delete(job.id)
    assert (await queue.clients.submit(request_for(seed=2), request_id="one")).id != job.id


async def test_without_request_id_every_submit_is_a_new_job(queue: Queues) -> None:
    assert (await queue.clients.submit(request_for())).id != (await queue.clients.submit(request_for())).id


async def test_the_list_goes_from_the_newest_to_the_oldest_in_pages(queue: Queues) -> None:
    ids = [(await queue.clients.submit(request_for())).id for _ in range(5)]
    first, token = await queue.clients.list(limit=3)
    second, end = await queue.clients.list(limit=3, page_token=token)
    assert [job.id for job in (*first, *second)] == ids[::-1]
    assert (len(first), end) == (3, "")


async def test_the_page_with_the_last_job_is_the_last_page(queue: Queues) -> None:
    await queue.clients.submit(request_for())
    assert (await queue.clients.list(limit=1))[1] == ""
    assert await queue.clients.list(limit=1, page_token="1") == ([], "")


@pytest.mark.parametrize("token", ["-1", "x", "1 2", "9" * 30])
async def test_a_foreign_page_token_is_refused(queue: Queues, token: str) -> None:
    with pytest.raises(InvalidRequest):
        await queue.clients.list(limit=3, page_token=token)


async def test_a_full_queue_refuses_jobs_until_one_has_ended(redis: Redis) -> None:
    queue = queues_on(redis, limits=QueueLimits(jobs=2))
    job = await queue.clients.submit(request_for())
    await queue.clients.submit(request_for())
    with pytest.raises(QueueFull) as refused:
        await queue.clients.submit(request_for())
    assert refused.value.retry_seconds == 5.0  # nothing was drawn yet, so the rate is unknown
    await queue.clients.cancel(job.id)
    await queue.clients.submit(request_for())
    await audit_pool(redis)


async def test_the_pixels_of_all_jobs_are_limited_and_freed_sample_by_sample(redis: Redis) -> None:
    queue = queues_on(redis, limits=QueueLimits(pixels=24))
    await queue.clients.submit(request_for(count=2))
    with pytest.raises(QueueFull):
        await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [finished(claim)])
    await queue.clients.submit(request_for())
    await audit_pool(redis)


async def test_the_retry_delay_follows_from_the_measured_drawing_rate(redis: Redis) -> None:
    queue = queues_on(redis, limits=QueueLimits(pixels=1200))
    await queue.clients.submit(request_for(count=100))
    now = (await redis.time())[0] * 1000
    await redis.hset(Keys("default").meta, mapping={"rate": "3", "rate_since": str(now)})
    with pytest.raises(QueueFull) as refused:
        await queue.clients.submit(request_for(count=5))  # 60 pixels too many, at 3 a second
    assert refused.value.retry_seconds == 20.0


async def test_drawing_is_measured_over_five_seconds(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    now = (await redis.time())[0] * 1000
    await redis.hset(Keys("default").meta, mapping={"rate_since": str(now - 10_000), "rate_pixels": "994"})
    await queue.workers.commit("anna", [drawn(claim, 0, 2)])
    rate = int(await redis.hget(Keys("default").meta, "rate") or 0)
    assert 85 <= rate <= 100  # 1000 pixels in 10 s and what the test took


@pytest.mark.parametrize("count", [0, -1, 11])
async def test_a_job_of_more_samples_than_allowed_is_refused(redis: Redis, count: int) -> None:
    queue = queues_on(redis, limits=QueueLimits(samples_per_job=10))
    with pytest.raises(InvalidRequest, match="1 to 10 samples"):
        await queue.clients.submit(request_for(count=count))


async def test_a_job_larger_than_the_queue_is_refused_as_invalid(redis: Redis) -> None:
    queue = queues_on(redis, limits=QueueLimits(pixels=100))
    with pytest.raises(InvalidRequest, match="whole queue"):
        await queue.clients.submit(request_for(count=9))


async def test_a_full_redis_refuses_jobs_and_finishes_running_ones(
    own_redis: PrivateRedis, until: Until
) -> None:
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis, lease_seconds=0.3)
        job = await queue.clients.submit(request_for(count=2))
        claims = await claim_from(queue, limit=2)
        await redis.config_set("maxmemory", 1)
        with pytest.raises(QueueFull, match="memory"):
            await queue.clients.submit(request_for())
        with pytest.raises(Unavailable, match="memory"):
            await claim_from(queue, "berta")
        await queue.workers.commit("anna", [drawn(claims[0], 0, 1)])
        [reply] = await queue.workers.commit("anna", [drawn(claims[0], 1, ROWS, Failed("no"))])
        assert reply.verdict is Verdict.ACCEPTED
        assert await queue.workers.renew("anna")
        assert await until(queue.upkeep.recover) == 1
        assert (await queue.clients.cancel(job.id)).state is JobState.CANCELLED
        await queue.clients.delete(job.id)
        await audit_pool(redis)


async def test_a_job_cancelled_while_queued_is_never_drawn(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=5))
    assert (await queue.clients.cancel(job.id)).state is JobState.CANCELLED
    assert await claim_from(queue, limit=9) == []


async def test_a_running_job_is_cancelled_at_its_workers_next_commit(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=5))
    done, going = await claim_from(queue, limit=2)
    await queue.workers.commit("anna", [finished(done)])
    assert (await queue.clients.cancel(job.id)).state is JobState.CANCELLING
    assert await claim_from(queue, "berta", limit=9) == []
    [reply] = await queue.workers.commit("anna", [drawn(going, 0, 1)])
    ended = await queue.clients.get(job.id)
    assert (reply.verdict, ended.state, ended.done) == (Verdict.CANCELLED, JobState.CANCELLED, 1)
    assert [result.pixels async for result in queue.watchers.results(job)] == [rows_of(done.index, 0, ROWS)]


async def test_a_commit_without_rows_also_drops_a_cancelled_sample(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await queue.clients.cancel(job.id)
    [reply] = await queue.workers.commit("anna", [drawn(claim, 0, 0)])
    assert reply.verdict is Verdict.CANCELLED
    assert (await queue.clients.get(job.id)).state is JobState.CANCELLED


async def test_a_sample_finished_while_its_job_is_cancelled_stays(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=2))
    claims = await claim_from(queue, limit=2)
    await queue.clients.cancel(job.id)
    replies = await queue.workers.commit("anna", [finished(claim) for claim in claims])
    assert {reply.verdict for reply in replies} == {Verdict.ACCEPTED}
    ended = await queue.clients.get(job.id)
    assert (ended.state, ended.done) == (JobState.CANCELLED, 2)


async def test_a_cancelled_job_of_a_dead_worker_ends_with_the_lease(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=3))
    await claim_from(queue, "gone", limit=2)
    await queue.clients.cancel(job.id)
    await take_lease_away(queue, redis, "gone")
    assert (await queue.clients.get(job.id)).state is JobState.CANCELLED


async def test_cancelling_deletes_the_rows_of_samples_given_back(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=3))
    [claim] = await claim_from(queue, "gone")
    await queue.workers.commit("gone", [drawn(claim, 0, 2)])
    await queue.workers.leave("gone")
    assert (await queue.clients.cancel(job.id)).state is JobState.CANCELLED
    assert not await redis.exists(Keys("default").pixels(job.id, claim.index))


async def test_cancelling_an_ended_job_changes_nothing(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [finished(claim)])
    ended = await queue.clients.get(job.id)
    assert await queue.clients.cancel(job.id) == ended
    assert ended.state is JobState.SUCCEEDED


async def test_a_job_whose_cancel_races_its_last_sample_ends_once(queue: Queues, redis: Redis) -> None:
    for race in range(30):
        job = await queue.clients.submit(request_for(count=2))
        claims = await claim_from(queue, limit=2)
        await asyncio.gather(
            queue.workers.commit("anna", [finished(claim) for claim in claims]), queue.clients.cancel(job.id)
        )
        ended = await queue.clients.get(job.id)
        assert (ended.state in {JobState.SUCCEEDED, JobState.CANCELLED}, ended.done) == (True, 2), race
    await audit_pool(redis)


async def test_only_a_job_that_has_ended_can_be_deleted(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(), request_id="one")
    with pytest.raises(JobNotFinished):
        await queue.clients.delete(job.id)
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [finished(claim)])
    await queue.clients.delete(job.id)
    with pytest.raises(JobNotFound):
        await queue.clients.get(job.id)
    with pytest.raises(JobNotFound):
        await queue.clients.delete(job.id)
    assert (await queue.clients.list(limit=9))[0] == []
    left = [name async for name in redis.scan_iter(f"*{job.id}*")]
    assert left == [f"{Keys('default').prefix}deleted:{job.id}".encode()]
    assert not [name async for name in redis.scan_iter("*request:*")]


async def test_the_keys_of_an_ended_job_have_a_ttl(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for(count=2000, retention_seconds=3600), request_id="one")
    claims = await claim_from(queue, limit=1500)
    await queue.workers.commit("anna", [finished(claim) for claim in claims])
    await queue.clients.cancel(job.id)
    names = {name async for name in redis.scan_iter(f"*{job.id}*")}  # which may name a key twice
    names |= {name async for name in redis.scan_iter("*request:*")}
    assert len(names) == 5  # the job, two chunks of results, the order of ends, the request_id
    ttls = [await redis.ttl(name) for name in names]
    assert all(3600 < ttl <= 3660 for ttl in ttls)


async def test_two_pools_on_one_redis_do_not_see_each_other(redis: Redis) -> None:
    one, other = queues_on(redis, pool="one"), queues_on(redis, pool="other")
    job = await one.clients.submit(request_for())
    with pytest.raises(JobNotFound):
        await other.clients.get(job.id)
    assert await claim_from(other) == []


async def test_a_million_queued_samples_cost_one_small_hash(queue: Queues, redis: Redis) -> None:
    before = int((await redis.info("memory"))["used_memory"])
    await queue.clients.submit(request_for(count=1_000_000))
    assert int((await redis.info("memory"))["used_memory"]) - before < 20_000
    assert len(await redis.keys("*job:*")) == 1


async def test_deleting_an_old_job_keeps_a_request_id_that_a_newer_job_has(
    queue: Queues, redis: Redis
) -> None:
    old = await queue.clients.submit(request_for(), request_id="one")
    await queue.clients.cancel(old.id)
    await redis.delete(Keys("default").prefix + request_key("", "one"))  # given that its time was up first
    young = await queue.clients.submit(request_for(), request_id="one")
    await queue.clients.delete(old.id)
    assert (await queue.clients.submit(request_for(), request_id="one")).id == young.id


async def test_a_third_crash_after_a_cancel_does_not_fail_the_sample(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for())
    for worker in ("one", "two"):
        await claim_from(queue, worker)
        await take_lease_away(queue, redis, worker)
    await claim_from(queue, "three")
    await queue.clients.cancel(job.id)
    await take_lease_away(queue, redis, "three")
    ended = await queue.clients.get(job.id)
    assert (ended.state, ended.failed) == (JobState.CANCELLED, 0)


async def test_the_request_of_a_known_job_is_not_read_again(redis: Redis) -> None:
    counting = Counting(redis)
    queue = queues_on(counting)  # type: ignore[arg-type]  # it behaves like one
    job = await queue.clients.submit(request_for(count=2))
    claims = await claim_from(queue, limit=2)
    await queue.workers.commit("anna", [drawn(claims[0], 0, 1)])  # Redis knows the scripts now
    assert await counting.taken_by(queue.clients.get(job.id)) == 2
    assert await counting.taken_by(queue.clients.refresh(job)) == 1
    assert await counting.taken_by(queue.watchers.rows(job, {})) == 2
    assert await counting.taken_by(queue.workers.commit("anna", [finished(claim) for claim in claims])) == 1
    assert await counting.taken_by(anext(queue.watchers.results(job))) == 1
    assert (
        await counting.taken_by(queue.clients.submit(request_for())) == 3
    )  # the job, its state, the models drawn now


async def test_a_refreshed_job_that_was_forgotten_is_not_found(queue: Queues) -> None:
    job = await queue.clients.cancel((await queue.clients.submit(request_for())).id)
    assert await queue.clients.refresh(job) == job
    await queue.clients.delete(job.id)
    with pytest.raises(JobNotFound):
        await queue.clients.refresh(job)
