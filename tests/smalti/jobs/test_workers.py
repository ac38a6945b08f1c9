"""Claim, commit, renew, leave, wait for work."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import Unavailable
from smalti.jobs.connection import connect
from smalti.jobs.job import Claim, Failed, Finished, JobState, Progress, Released, Verdict
from smalti.jobs.keys import Keys
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import (
    COLUMNS,
    ROWS,
    Twice,
    claim_from,
    drawn,
    finished,
    request_for,
    rows_of,
    take_lease_away,
)

PREFIX = Keys("default").prefix


async def verdict(queue: Queues, claim: Claim, first: int, last: int, outcome: Any = None) -> Any:
    [reply] = await queue.workers.commit("anna", [drawn(claim, first, last, outcome)])
    return reply.verdict, reply.rows


async def test_every_sample_is_handed_out_once_and_in_order(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=3, first_index=10))
    first = await claim_from(queue, "anna", limit=2)
    second = await claim_from(queue, "berta", limit=2)
    assert [claim.index for claim in first + second] == [0, 1, 2]
    assert {claim.request for claim in first} == {job.request}
    now = await queue.clients.get(job.id)
    assert (now.state, now.running, now.started is not None) == (JobState.RUNNING, 3, True)


async def test_tokens_grow_even_within_a_microsecond_or_if_the_clock_goes_back(
    queue: Queues, redis: Redis
) -> None:
    await queue.clients.submit(request_for(count=300))
    future = 2**53 - 1000  # as after a failover to a Redis whose clock is behind
    claims = await claim_from(queue, limit=100)
    claims += await claim_from(queue, limit=100)
    await redis.hset(PREFIX + "meta", "token", str(future))
    claims += await claim_from(queue, limit=100)
    tokens = [int(claim.token) for claim in claims]
    assert tokens == sorted(set(tokens))
    assert tokens[-1] == future + 100
    assert all(claim.token.isdigit() for claim in claims)


async def test_the_same_sequence_number_again_gives_the_same_samples(queue: Queues) -> None:
    await queue.clients.submit(request_for(count=9))
    first = await claim_from(queue, sequence=1, limit=3)
    assert await claim_from(queue, sequence=1, limit=5) == first
    assert await claim_from(queue, sequence=2, limit=3) != first
    assert await claim_from(queue, sequence=1, limit=3) == []  # a late copy of an old call


async def test_a_claim_sent_again_leaves_out_released_samples(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=2))
    kept, gone = await claim_from(queue, sequence=1, limit=2)
    await queue.workers.commit("anna", [drawn(gone, 0, 1, Released())])
    assert await claim_from(queue, sequence=1, limit=2) == [kept]
    assert (await queue.clients.get(job.id)).running == 1


async def test_a_worker_gets_only_jobs_of_models_it_has(queue: Queues) -> None:
    await queue.clients.submit(request_for(digest="digest-a"))
    other = await queue.clients.submit(request_for(digest="digest-b"))
    assert [claim.job for claim in await claim_from(queue, limit=9, digests=["digest-b"])] == [other.id]
    assert len(await claim_from(queue, limit=9, digests=["digest-a", "digest-b"])) == 1


async def test_jobs_take_turns(queue: Queues) -> None:
    large = await queue.clients.submit(request_for(count=1000))
    await claim_from(queue, limit=8)
    small = await queue.clients.submit(request_for(count=1))
    claims = await claim_from(queue, limit=1) + await claim_from(queue, limit=1)
    assert {claim.job for claim in claims} == {large.id, small.id}


async def test_waiting_jobs_share_the_free_slots(queue: Queues) -> None:
    large = await queue.clients.submit(request_for(count=1000))
    small = await queue.clients.submit(request_for(count=3))
    jobs = [claim.job for claim in await claim_from(queue, limit=32)]
    assert (jobs.count(small.id), jobs.count(large.id)) == (3, 29)


async def test_a_job_stays_with_its_first_fingerprint_while_such_a_worker_lives(
    queue: Queues, redis: Redis
) -> None:
    job = await queue.clients.submit(request_for(count=4))
    [claim] = await claim_from(queue, "anna", fingerprint="cpu")
    await queue.workers.commit("anna", [drawn(claim, 0, 1)])
    assert await claim_from(queue, "gpu", fingerprint="gpu", limit=4) == []
    await take_lease_away(queue, redis, "anna")
    claims = await claim_from(queue, "gpu", fingerprint="gpu", limit=4)
    await queue.workers.commit("gpu", [finished(claim) for claim in claims])
    fingerprints = {r.index: r.fingerprint async for r in queue.watchers.results(job)}
    assert fingerprints == {0: "cpu+gpu", 1: "gpu", 2: "gpu", 3: "gpu"}


async def test_jobs_of_another_fingerprint_do_not_hide_jobs_that_may_be_drawn(queue: Queues) -> None:
    for _ in range(40):
        await queue.clients.submit(request_for(count=2))
    await claim_from(queue, "anna", fingerprint="cpu", limit=40)
    free = await queue.clients.submit(request_for())
    assert [c.job for c in await claim_from(queue, "gpu", fingerprint="gpu", limit=2)] == [free.id]


async def test_rows_are_appended_until_the_sample_is_done(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    assert await verdict(queue, claim, 0, 1) == (Verdict.ACCEPTED, 1)
    assert await verdict(queue, claim, 1, 3) == (Verdict.ACCEPTED, 3)
    assert await verdict(queue, claim, 3, 3) == (Verdict.ACCEPTED, 3)  # nothing new: does it go on?
    assert await verdict(queue, claim, 3, 4, Finished(-12.25)) == (Verdict.ACCEPTED, 4)
    [result] = [result async for result in queue.watchers.results(job)]
    assert (result.pixels, result.log_probability, result.fingerprint) == (rows_of(0, 0, 4), -12.25, "cpu")
    ended = await queue.clients.get(job.id)
    assert (ended.state, ended.done, ended.running) == (JobState.SUCCEEDED, 1, 0)
    assert ended.ended is not None
    assert ended.expires == pytest.approx(ended.ended + 86400)


async def test_rows_that_are_sent_again_are_stored_once(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await verdict(queue, claim, 0, 2)
    assert await verdict(queue, claim, 0, 2) == (Verdict.DUPLICATE, 2)
    assert await verdict(queue, claim, 1, 3) == (Verdict.ACCEPTED, 3)
    assert [rows.pixels for rows in await queue.watchers.rows(job, {})] == [rows_of(0, 0, 3)]
    await verdict(queue, claim, 3, 4, Finished(-1.0))
    assert await verdict(queue, claim, 3, 4, Finished(-1.0)) == (Verdict.DUPLICATE, 4)
    assert (await queue.clients.get(job.id)).done == 1


@pytest.mark.parametrize("kept", [0, 1, COLUMNS, 2 * COLUMNS - 1])  # bytes; a row may be cut off
async def test_commit_asks_for_rows_that_redis_lost(queue: Queues, redis: Redis, kept: int) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    pixels = f"{PREFIX}pixels:{job.id}:0"
    await verdict(queue, claim, 0, 3)
    left = rows_of(0, 0, 2)[:kept]
    await redis.delete(pixels)  # given that it lost acknowledged rows
    if left:
        await redis.set(pixels, left)
    whole = kept // COLUMNS
    assert await verdict(queue, claim, 3, 4, Finished(-1.0)) == (Verdict.BEHIND, whole)
    assert await redis.get(pixels) == (left or None)
    assert await verdict(queue, claim, whole, 4, Finished(-1.0)) == (Verdict.ACCEPTED, 4)
    assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED


async def test_a_sample_without_all_its_rows_is_not_done(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    assert await verdict(queue, claim, 0, 3, Finished(-1.0)) == (Verdict.BEHIND, 3)
    assert (await queue.clients.get(job.id)).done == 0


@pytest.mark.parametrize("pixels", [b"\1\2\3", rows_of(0, 0, 1) + b"\1\2\3", rows_of(0, 0, ROWS + 1)])
async def test_rows_that_contradict_committed_ones_or_exceed_the_size_fail_the_sample(
    queue: Queues, pixels: bytes
) -> None:
    job = await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await verdict(queue, claim, 0, 2)
    [reply] = await queue.workers.commit("anna", [replace(drawn(claim, 0, 0), pixels=pixels)])
    assert reply.verdict is Verdict.CORRUPT
    [result] = [result async for result in queue.watchers.results(job)]
    assert (result.pixels, "different pixels" in result.error) == (b"", True)
    assert (await queue.clients.get(job.id)).state is JobState.FAILED


async def test_a_failed_sample_leaves_the_others_alone(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=2))
    bad, good = await claim_from(queue, limit=2)
    await queue.workers.commit(
        "anna", [drawn(bad, 0, 1, Failed("Its logits were not numbers.\nNone.")), finished(good)]
    )
    ended = await queue.clients.get(job.id)
    assert (ended.state, ended.done, ended.failed) == (JobState.FAILED, 1, 1)
    assert ended.reason == "SAMPLES_FAILED"
    first, second = [result async for result in queue.watchers.results(job)]
    assert (first.error, first.pixels) == ("Its logits were not numbers.\nNone.", b"")
    assert (second.error, second.pixels) == ("", rows_of(1, 0, ROWS))


@pytest.mark.parametrize("sent", ["once", "twice"])
async def test_a_commit_says_which_sample_was_the_last_of_its_job(redis: Redis, sent: str) -> None:
    queue = queues_on(Twice(redis) if sent == "twice" else redis)  # type: ignore[arg-type]  # it behaves like one
    for count in (3, 2):
        await queue.clients.submit(request_for(count=count))
    claims = await claim_from(queue, limit=5)
    large, small = [[c for c in claims if c.request.count == count] for count in (3, 2)]

    async def ends(*progress: Progress) -> list[bool]:
        return [reply.ends_job for reply in await queue.workers.commit("anna", progress)]

    assert await ends(drawn(large[0], 0, 1), finished(small[0])) == [False, False]
    assert await ends(finished(large[2]), finished(small[1]), finished(large[0])) == [False, True, False]
    assert await ends(drawn(large[1], 0, 1, Failed("no"))) == [True]
    assert await ends(finished(large[2]), finished(small[1])) == [False, True]  # a late copy says the same
    await audit_pool(redis)


async def test_a_commit_does_not_end_a_job_that_is_being_cancelled(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=2))
    [claim] = await claim_from(queue)
    await queue.clients.cancel(job.id)
    [reply] = await queue.workers.commit("anna", [finished(claim)])
    assert (reply.verdict, reply.ends_job) == (Verdict.ACCEPTED, False)


async def test_contradicting_rows_that_fail_the_last_sample_end_its_job(queue: Queues) -> None:
    await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [drawn(claim, 0, 1)])
    [reply] = await queue.workers.commit("anna", [replace(drawn(claim, 0, 0), pixels=b"\1\2\3")])
    assert (reply.verdict, reply.ends_job) == (Verdict.CORRUPT, True)


async def test_a_released_sample_goes_on_elsewhere_from_its_last_row(queue: Queues) -> None:
    await queue.clients.submit(request_for(count=3))
    none, some, more = await claim_from(queue, limit=3)
    await queue.workers.commit(
        "anna",
        [drawn(none, 0, 0, Released()), drawn(some, 0, 1, Released()), drawn(more, 0, 3, Released())],
    )
    again = await claim_from(queue, "berta", limit=3)
    assert [claim.index for claim in again] == [more.index, some.index, none.index]  # most advanced first
    assert [claim.pixels for claim in again] == [rows_of(2, 0, 3), rows_of(1, 0, 1), b""]
    [late] = await queue.workers.commit("anna", [drawn(more, 3, 4)])
    assert late.verdict is Verdict.FENCED


async def test_pixels_of_two_bytes_are_counted_in_rows(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(colours=300))
    [claim] = await claim_from(queue)
    two_rows = replace(drawn(claim, 0, 0), pixels=b"\x2b\x01" * 2 * COLUMNS)
    [reply] = await queue.workers.commit("anna", [two_rows])
    assert (reply.rows, (await queue.watchers.rows(job, {0: 1}))[0].pixels) == (2, b"\x2b\x01" * COLUMNS)


async def test_a_sample_whose_worker_died_is_drawn_by_another(redis: Redis, until: Until) -> None:
    queue = queues_on(redis, lease_seconds=0.2)
    await queue.clients.submit(request_for())
    [lost] = await claim_from(queue, "gone")  # given a worker that claimed it, drew two rows and fell silent
    await queue.workers.commit("gone", [drawn(lost, 0, 2)])
    assert await until(queue.upkeep.recover) == 1  # when its lease runs out
    [again] = await claim_from(queue, "alive")
    assert (again.index, int(again.token) > int(lost.token)) == (
        lost.index,
        True,
    )  # then another gets it, fenced,
    assert again.pixels == rows_of(0, 0, 2)  # with its rows
    replies = [
        await queue.workers.commit("gone", [drawn(lost, 2, 3)]),
        await queue.workers.commit("gone", [finished(lost)]),
    ]
    assert {reply.verdict for [reply] in replies} == {Verdict.FENCED}
    [reply] = await queue.workers.commit("alive", [finished(again)])
    assert reply.verdict is Verdict.ACCEPTED
    await audit_pool(redis)


@pytest.mark.parametrize("sign_of_life", ["commit", "renew", "claim"])
async def test_commits_renewals_and_claims_keep_the_lease(
    queue: Queues, redis: Redis, sign_of_life: str
) -> None:
    await queue.clients.submit(request_for())
    [claim] = await claim_from(queue, "anna")
    await claim_from(queue, "silent", limit=0)
    now = (await redis.time())[0] * 1000
    await redis.zadd(PREFIX + "workers", {"anna": now + 5000, "silent": now + 5000})  # five seconds are left
    if sign_of_life == "commit":
        await queue.workers.commit("anna", [drawn(claim, 0, 0)])
    elif sign_of_life == "renew":
        assert await queue.workers.renew("anna")
    else:
        await claim_from(queue, "anna", limit=0)
    assert (await redis.zscore(PREFIX + "workers", "anna") or 0) >= now + 60_000
    assert await redis.zscore(PREFIX + "workers", "silent") == now + 5000


async def test_renew_tells_a_worker_that_its_lease_ran_out(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for())
    await claim_from(queue, "anna")
    assert await queue.workers.renew("anna")
    await take_lease_away(queue, redis, "anna")
    assert not await queue.workers.renew("anna")
    assert not await queue.workers.renew("never came")


async def test_a_worker_that_renews_keeps_what_it_holds_and_what_is_on_its_way_to_it(queue, redis):
    await queue.clients.submit(request_for(count=3))
    first = await claim_from(queue)
    await claim_from(queue, limit=2)  # given a second claim
    tokens = [claim.token for claim in first]
    assert await queue.workers.renew(
        "anna", sequence=2, tokens=tokens
    )  # whose reply the worker does not have yet
    assert await redis.zcard(Keys("default").prefix + "held:anna") == 3
    assert await queue.workers.renew("anna", sequence=3, tokens=tokens)  # then it forgot what that reply said
    assert await redis.zrange(Keys("default").prefix + "held:anna", 0, -1) == [f"{first[0].job}:0".encode()]
    assert len(await claim_from(queue, "ben", limit=3)) == 2


async def test_an_orderly_stop_is_not_counted_as_a_crash(queue: Queues) -> None:
    job = await queue.clients.submit(request_for(count=2))
    for worker in ("one", "two", "three", "four"):
        assert len(await claim_from(queue, worker, limit=2)) == 2
        await queue.workers.leave(worker)
    now = await queue.clients.get(job.id)
    assert (now.failed, now.running) == (0, 0)
    assert (await queue.upkeep.depth()).workers == 0


async def test_an_idle_worker_hears_of_work_at_once(queue: Queues, redis: Redis) -> None:
    await queue.clients.submit(request_for())
    await queue.workers.wait_for_work(5)  # what rang before it listened counts too
    waiting = asyncio.create_task(queue.workers.wait_for_work(30))
    await asyncio.wait({waiting}, timeout=0.05)
    assert not waiting.done()
    await queue.clients.submit(request_for())
    await asyncio.wait_for(waiting, 5)


async def test_waiting_for_work_ends_after_the_given_time(queue: Queues) -> None:
    await asyncio.wait_for(queue.workers.wait_for_work(0.05), 5)


@pytest.mark.parametrize("way", ["release", "leave", "recover"])
async def test_samples_given_back_ring_the_bell(queue: Queues, redis: Redis, way: str) -> None:
    await queue.clients.submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.wait_for_work(5)
    waiting = asyncio.create_task(queue.workers.wait_for_work(30))
    if way == "release":
        await queue.workers.commit("anna", [drawn(claim, 0, 1, Released())])
    elif way == "leave":
        await queue.workers.leave("anna")
    else:
        await take_lease_away(queue, redis, "anna")
    await asyncio.wait_for(waiting, 5)


async def test_redis_may_forget_its_scripts_at_any_time(queue: Queues, redis: Redis) -> None:
    job = await queue.clients.submit(request_for())
    await redis.script_flush()
    [claim] = await claim_from(queue)
    await redis.script_flush()
    await queue.workers.commit("anna", [finished(claim)])
    assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED


async def test_a_killed_redis_keeps_every_acknowledged_job_and_row(own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis, lease_seconds=10)
        await queue.upkeep.recover()
        jobs = [
            await queue.clients.submit(request_for(count=2, seed=n), request_id=f"r{n}") for n in range(5)
        ]
        claims = await claim_from(queue, limit=3)
        await queue.workers.commit("anna", [drawn(claim, 0, 2) for claim in claims])
        own_redis.kill()
        with pytest.raises(Unavailable):
            await queue.clients.list(limit=1)
        with pytest.raises(Unavailable):
            await queue.clients.submit(request_for())
        own_redis.start()
        assert [(await queue.clients.get(job.id)).request for job in jobs] == [job.request for job in jobs]
        assert (await queue.clients.submit(request_for(count=2, seed=3), request_id="r3")).id == jobs[3].id
        assert await queue.upkeep.recover() == 0
        replies = await queue.workers.commit(
            "anna", [replace(finished(c), first_row=2, pixels=rows_of(c.index, 2, 4)) for c in claims]
        )
        assert {reply.verdict for reply in replies} == {Verdict.ACCEPTED}
        await audit_pool(redis)


async def test_a_fingerprint_is_one_word(queue: Queues) -> None:
    with pytest.raises(ValueError, match="one word"):
        await claim_from(queue, fingerprint="two words")
