"""Interactive samples come first up to a number; beyond it classes share each worker by their weights; none starves."""

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis

from smalti.jobs.job import Job, JobClass, Released
from tests.queues import Queues
from tests.smalti.jobs.story import claim_from, drawn, request_for, take_lease_away


async def submit(queue: Queues, count: int, job_class: JobClass) -> Job:
    return await queue.clients.submit(request_for(count=count, job_class=job_class))


async def classes(queue: Queues, limit: int, interactive: int | None = None) -> tuple[int, int]:
    """How many interactive and other samples a claim brings."""
    claims = await claim_from(queue, limit=limit, interactive=interactive)
    hurried = [claim for claim in claims if claim.request.job_class is JobClass.INTERACTIVE]
    return len(hurried), len(claims) - len(hurried)


async def test_an_interactive_sample_overtakes_a_standard_job_that_was_there_before(queue: Queues) -> None:
    await submit(queue, 1000, JobClass.STANDARD)
    await submit(queue, 2, JobClass.INTERACTIVE)
    assert await classes(queue, limit=3) == (2, 1)


async def test_a_job_is_standard_unless_it_says_otherwise(queue: Queues) -> None:
    job = await queue.clients.submit(request_for())
    assert (await queue.clients.get(job.id)).request.job_class is JobClass.STANDARD


async def test_a_worker_without_room_gets_interactive_samples_only(queue: Queues) -> None:
    await submit(queue, 1000, JobClass.STANDARD)
    await submit(queue, 5, JobClass.INTERACTIVE)
    assert await classes(queue, limit=0, interactive=3) == (3, 0)


async def test_classes_share_what_a_worker_draws_by_their_weights(queue: Queues) -> None:
    for job_class in JobClass:
        await submit(queue, 1000, job_class)
    handed = [claim for _ in range(70) for claim in await claim_from(queue, limit=3, interactive=0)]
    counts = Counter(claim.request.job_class for claim in handed)
    assert [counts[job_class] for job_class in JobClass] == [160, 40, 10]


async def test_interactive_samples_that_came_first_count_for_their_class(queue: Queues) -> None:
    for job_class in JobClass:
        await submit(queue, 1000, job_class)
    handed = [claim for _ in range(30) for claim in await claim_from(queue, limit=7, interactive=4)]
    counts = Counter(claim.request.job_class for claim in handed)
    assert [counts[job_class] for job_class in JobClass] == [160, 40, 10]


async def test_a_class_without_samples_saves_nothing_up(queue: Queues) -> None:
    await submit(queue, 1000, JobClass.BATCH)
    await claim_from(queue, limit=100)
    await submit(queue, 1000, JobClass.STANDARD)  # given that it had none for long
    counts = Counter(claim.request.job_class for claim in await claim_from(queue, limit=500))
    assert counts[JobClass.BATCH] == pytest.approx(100, abs=1)


async def test_what_makes_way_costs_its_class_nothing(queue: Queues) -> None:
    await submit(queue, 1000, JobClass.BATCH)
    given = await claim_from(queue, limit=20)
    await queue.workers.commit("anna", [drawn(claim, 0, 0, Released()) for claim in given[:16]])
    await submit(queue, 1000, JobClass.STANDARD)
    counts = Counter(claim.request.job_class for claim in await claim_from(queue, limit=50))
    assert counts == {JobClass.STANDARD: 40, JobClass.BATCH: 10}


async def test_a_class_that_only_others_draw_does_not_wait_for_it_here(queue: Queues) -> None:
    await submit(queue, 1000, JobClass.STANDARD)
    await claim_from(queue, "berta", limit=500)  # given a worker that draws much of one class
    await submit(queue, 1000, JobClass.BATCH)
    counts = Counter(claim.request.job_class for claim in await claim_from(queue, limit=50))
    assert counts == {JobClass.STANDARD: 40, JobClass.BATCH: 10}


async def test_interactive_samples_take_the_room_that_standard_ones_leave(queue: Queues) -> None:
    await submit(queue, 2, JobClass.STANDARD)
    await submit(queue, 1000, JobClass.INTERACTIVE)
    assert await classes(queue, limit=8, interactive=3) == (6, 2)


async def test_a_released_standard_sample_still_waits_behind_interactive_ones(queue: Queues) -> None:
    job = await submit(queue, 1, JobClass.STANDARD)
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [drawn(claim, 0, 2, Released())])
    await submit(queue, 1, JobClass.INTERACTIVE)
    assert await classes(queue, limit=1) == (1, 0)
    [again] = await claim_from(queue)
    assert (again.job, len(again.pixels)) == (job.id, len(drawn(claim, 0, 2).pixels))


@pytest.mark.parametrize("way", ["submit", "release", "leave", "recover"])
async def test_busy_workers_hear_of_interactive_samples(queue: Queues, redis: Redis, way: str) -> None:
    if way != "submit":
        await submit(queue, 1, JobClass.INTERACTIVE)
        [claim] = await claim_from(queue)
        await queue.workers.wait_for_interactive(5)  # it rang for the job
    waiting = asyncio.create_task(queue.workers.wait_for_interactive(30))
    if way == "submit":
        await submit(queue, 1, JobClass.INTERACTIVE)
    elif way == "release":
        await queue.workers.commit("anna", [drawn(claim, 0, 1, Released())])
    elif way == "leave":
        await queue.workers.leave("anna")
    else:
        await take_lease_away(queue, redis, "anna")
    await asyncio.wait_for(waiting, 5)


async def test_standard_samples_do_not_disturb_busy_workers(queue: Queues) -> None:
    await submit(queue, 1, JobClass.STANDARD)
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [drawn(claim, 0, 1, Released())])
    waiting = asyncio.create_task(queue.workers.wait_for_interactive(30))
    await asyncio.wait({waiting}, timeout=0.1)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_cancelled_interactive_job_leaves_nothing_to_claim(queue: Queues) -> None:
    job = await submit(queue, 3, JobClass.INTERACTIVE)
    await claim_from(queue, limit=1)
    await queue.clients.cancel(job.id)
    assert await classes(queue, limit=9) == (0, 0)


async def test_a_claim_goes_on_to_the_next_job_when_it_has_taken_the_last_sample_of_one(
    queue: Queues,
) -> None:
    await submit(queue, 1, JobClass.INTERACTIVE)
    await submit(queue, 1, JobClass.INTERACTIVE)
    assert await classes(queue, limit=2, interactive=1) == (2, 0)
