"""In a class clients share the pixels by their weights, whatever they submit and when."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from redis.asyncio import Redis

from smalti.errors import InvalidRequest
from smalti.jobs.job import Claim, Job, Released
from tests.queues import Queues
from tests.smalti.jobs.story import (
    ANNE,
    BEN,
    ROWS,
    Asking,
    claim_from,
    drawn,
    finished,
    request_for,
    take_lease_away,
)

CORA = Asking("cora")


async def submit(queue: Queues, client: Asking, count: int = 1, **changes: Any) -> Job:
    return await queue.of(client).submit(request_for(count=count, **changes))


async def owners(queue: Queues, claims: Iterable[Claim]) -> "Counter[str]":
    """How many of these samples each client has."""
    jobs = Counter(claim.job for claim in claims)
    names = {job_id: (await queue.clients.get(job_id)).client for job_id in jobs}
    counts: Counter[str] = Counter()
    for job_id, number in jobs.items():
        counts[names[job_id]] += number
    return counts


async def shares(queue: Queues, limit: int, **changes: Any) -> "Counter[str]":
    """How many samples of each client a claim brings."""
    return await owners(queue, await claim_from(queue, limit=limit, **changes))


async def test_clients_share_equally_whatever_the_number_and_size_of_their_jobs(queue: Queues) -> None:
    await submit(queue, ANNE, 100_000)
    for _ in range(30):
        await submit(queue, BEN, 2)
    await submit(queue, CORA, 40)
    assert await shares(queue, 60) == {"anne": 20, "ben": 20, "cora": 20}


@pytest.mark.parametrize("at_once", [1, 7, 70])
async def test_clients_share_by_their_weights(queue: Queues, at_once: int) -> None:
    await queue.weights.set("anne", 4)
    await queue.weights.set("cora", 0.5)
    for client in (ANNE, BEN, CORA):
        await submit(queue, client, 1000)
    claims = [claim for _ in range(220 // at_once) for claim in await claim_from(queue, limit=at_once)]
    counts = await owners(queue, claims)
    assert counts["anne"] == pytest.approx(len(claims) * 4 / 5.5, abs=4)
    assert counts["cora"] == pytest.approx(len(claims) * 0.5 / 5.5, abs=1)


async def test_what_is_shared_are_pixels_not_samples(queue: Queues) -> None:
    await submit(queue, ANNE, 1000)
    await submit(queue, BEN, 1000, rows=3 * ROWS)
    assert await shares(queue, 40) == {"anne": 30, "ben": 10}


async def test_a_single_sample_beside_a_hundred_thousand_of_another_client_comes_next(queue: Queues) -> None:
    await submit(queue, ANNE, 100_000)
    await claim_from(queue, limit=64)  # given a worker whose slots are all taken
    await submit(queue, BEN, 1)
    assert await shares(queue, 1) == {"ben": 1}


async def test_jobs_of_many_clients_do_not_outnumber_one_client(queue: Queues) -> None:
    for _ in range(50):
        await submit(queue, ANNE, 10)
    await submit(queue, BEN, 10)
    assert (await shares(queue, 10))["ben"] == 5


async def test_a_client_that_slept_has_saved_nothing_up(queue: Queues) -> None:
    await submit(queue, ANNE, 1000)
    await claim_from(queue, limit=300)
    await submit(queue, BEN, 1000)  # given a client that comes late
    counts = await shares(queue, 100)
    assert counts["anne"] == pytest.approx(50, abs=1)


async def test_a_client_that_submits_sample_by_sample_gets_no_more_than_its_share(queue: Queues) -> None:
    await submit(queue, BEN, 1000)
    claims: list[Claim] = []
    for _ in range(40):
        if not claims or claims[-1].request.seed == 1:
            await submit(queue, ANNE, 1, seed=1)  # given a client that has nothing to claim again and again
        claims += await claim_from(queue, limit=1)
    assert await owners(queue, claims) == {"anne": 20, "ben": 20}


async def test_a_client_with_jobs_of_two_models_has_one_share(queue: Queues) -> None:
    await submit(queue, ANNE, 1000)
    await submit(queue, ANNE, 1000, digest="digest-b")
    await submit(queue, BEN, 1000)
    claims = await claim_from(queue, limit=40, digests=["digest-a", "digest-b"])
    assert await owners(queue, claims) == {"anne": 20, "ben": 20}
    assert {claim.request.digest for claim in claims} == {"digest-a", "digest-b"}


async def test_pixels_of_one_model_count_at_workers_of_another(queue: Queues) -> None:
    await submit(queue, ANNE, 1000)
    await submit(queue, ANNE, 1000, digest="digest-b")
    await submit(queue, BEN, 1000, digest="digest-b")
    await claim_from(queue, limit=10)  # Anne alone has jobs of this model
    assert await shares(queue, 30, digests=["digest-b"]) == {"anne": 10, "ben": 20}


async def test_a_client_whose_model_had_no_worker_does_not_stop_the_others_for_long(queue: Queues) -> None:
    large = {"rows": 1000, "columns": 1000}  # a million pixels
    await submit(queue, ANNE, 100, digest="digest-b", **large)
    await submit(queue, BEN, 100, **large)
    await claim_from(queue, limit=50)  # given that Ben drew a lot meanwhile
    await submit(queue, CORA, 100, digest="digest-b", **large)
    assert await shares(queue, 11, digests=["digest-b"]) == {"anne": 6, "cora": 5}


async def test_rows_that_a_worker_did_not_draw_are_not_paid_for(queue: Queues) -> None:
    await submit(queue, ANNE, 10)
    await submit(queue, BEN, 1000)
    given = [claim for claim in await claim_from(queue, limit=20) if claim.request.count == 10]
    await queue.workers.commit("anna", [drawn(claim, 0, 2, Released()) for claim in given])  # half of each
    assert await shares(queue, 10) == {"anne": 10}  # she has had half as much as Ben


async def test_what_a_dead_worker_had_drawn_but_not_committed_does_not_count(
    queue: Queues, redis: Redis
) -> None:
    await submit(queue, ANNE, 20)
    await submit(queue, BEN, 1000)
    await claim_from(queue, "gone", limit=20)
    await take_lease_away(queue, redis, "gone")
    claims = [claim for _ in range(20) for claim in await claim_from(queue, limit=1)]
    assert (await owners(queue, claims))["ben"] >= 10


async def test_a_client_without_work_for_this_worker_is_passed_over(queue: Queues) -> None:
    await submit(queue, ANNE, 5)
    await claim_from(
        queue, "berta", fingerprint="gpu", limit=1
    )  # given a job that stays with another fingerprint
    await submit(queue, BEN, 5)
    assert await shares(queue, 20) == {"ben": 5}
    assert await shares(queue, 20, worker="berta", fingerprint="gpu") == {"anne": 4}


async def test_a_client_without_a_claimable_sample_takes_no_part(queue: Queues) -> None:
    job = await submit(queue, ANNE, 5)
    await submit(queue, BEN, 5)
    await queue.of(ANNE).cancel(job.id)
    assert await shares(queue, 9) == {"ben": 5}


async def test_finished_samples_stay_paid_for(queue: Queues) -> None:
    await submit(queue, ANNE, 1000)
    await submit(queue, BEN, 1000)
    for _ in range(20):
        claims = await claim_from(queue, limit=3)
        await queue.workers.commit("anna", [finished(claim) for claim in claims])
    counts = await shares(queue, 60)
    assert counts == {"anne": 30, "ben": 30}


async def test_a_recount_lists_clients_again_that_were_lost(queue: Queues, redis: Redis) -> None:
    await submit(queue, ANNE, 5)
    await submit(queue, BEN, 5)
    prefix = queue.store.keys.prefix
    await redis.delete(f"{prefix}turns:digest-a:standard", f"{prefix}share:standard:anne")
    assert await claim_from(queue, limit=9) == []
    await queue.upkeep.recount(every_seconds=0)
    assert await shares(queue, 9) == {"anne": 5, "ben": 4}


async def test_weights_are_kept_and_the_usual_one_is_forgotten(queue: Queues) -> None:
    await queue.weights.set("ben", 0.01)
    await queue.weights.set("anne", 100)
    assert dict(await queue.weights.all()) == {"anne": 100.0, "ben": 0.01}
    await queue.weights.set("anne", 1)
    assert dict(await queue.weights.all()) == {"ben": 0.01}


@pytest.mark.parametrize("weight", [0.0, -1.0, 0.009, 101.0, float("nan"), float("inf")])
async def test_a_weight_that_starves_somebody_is_refused(queue: Queues, weight: float) -> None:
    with pytest.raises(InvalidRequest, match="A weight is a number from"):
        await queue.weights.set("anne", weight)


async def test_a_claim_makes_as_many_calls_for_hundreds_of_clients_as_for_two(
    queue: Queues, redis: Redis
) -> None:
    await submit(queue, ANNE, 1000)
    await submit(queue, BEN, 1000)
    few = await calls_of_a_claim(queue, redis)
    for number in range(300):
        await submit(queue, Asking(f"client-{number}"), 3)
    await claim_from(queue, limit=1)
    assert await calls_of_a_claim(queue, redis) <= few + 5


async def calls_of_a_claim(queue: Queues, redis: Redis) -> int:
    """The Redis commands of a claim of one sample."""
    await redis.config_resetstat()
    await claim_from(queue, limit=1)
    commands = await redis.info("commandstats")
    return sum(each["calls"] for each in commands.values())
