"""Those who run the queue see who has what, pause it, drain a worker, and have failed samples drawn again."""

import asyncio

import pytest
from redis.asyncio import Redis

from smalti.errors import InvalidRequest, JobNotFound, WorkerNotFound
from smalti.jobs.administration import QueueAdministration
from smalti.jobs.job import Failed, JobState
from smalti.jobs.sharing import ClientWeights
from tests.queues import Queues
from tests.smalti.jobs.story import (
    ANNE,
    BEN,
    claim_from,
    drawn,
    finished,
    request_for,
    take_lease_away,
)


@pytest.fixture
def admin(queue: Queues) -> QueueAdministration:
    return QueueAdministration(queue.store, queue.all_clients)


async def test_statistics_name_what_each_worker_and_client_has(
    queue: Queues, admin: QueueAdministration
) -> None:
    await queue.of(ANNE).submit(request_for(count=5))
    await claim_from(queue, "berta", limit=2, slots=8)
    await queue.of(BEN).submit(request_for(count=3))
    await ClientWeights(queue.store).set("carl", 3.0)
    found = await admin.statistics()
    assert (found.depth.queued_jobs, found.depth.running_jobs, found.is_paused) == (1, 1, False)
    [worker] = found.workers
    assert (worker.name, worker.held, worker.slots, worker.models) == ("berta", 2, 8, ["digest-a"])
    assert 0 < worker.lease_seconds <= 60
    clients = {
        client.name: (client.jobs, client.ready, client.running, client.weight) for client in found.clients
    }
    assert clients == {"anne": (1, 3, 2, 1.0), "ben": (1, 3, 0, 1.0), "carl": (0, 0, 0, 3.0)}


async def test_a_paused_queue_hands_out_nothing_and_what_is_held_is_finished(
    queue: Queues, admin: QueueAdministration
) -> None:
    job = await queue.clients.submit(request_for(count=2))
    [held] = await claim_from(queue)
    await admin.pause()
    assert (await admin.statistics()).is_paused
    assert await claim_from(queue, limit=9) == []
    assert (await queue.workers.commit("anna", [finished(held)]))[0].rows == request_for().rows
    waiting = asyncio.create_task(queue.workers.wait_for_work(60))
    await asyncio.sleep(0)
    await admin.resume()
    await asyncio.wait_for(waiting, 5)  # idle workers hear of it
    [last] = await claim_from(queue)
    await queue.workers.commit("anna", [finished(last)])
    assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED


async def test_a_drained_worker_gets_nothing_and_is_told(queue: Queues, admin: QueueAdministration) -> None:
    await queue.clients.submit(request_for(count=4))
    await claim_from(queue, "anna")
    await claim_from(queue, "berta")
    assert not await queue.workers.is_draining("anna")
    await admin.drain("anna")
    assert await queue.workers.is_draining("anna")
    assert [worker.is_draining for worker in (await admin.statistics()).workers] == [True, False]
    assert (await claim_from(queue, "anna"), len(await claim_from(queue, "berta"))) == ([], 1)


async def test_draining_an_unknown_worker_says_so(admin: QueueAdministration) -> None:
    with pytest.raises(WorkerNotFound, match="no worker nobody"):
        await admin.drain("nobody")


async def test_failed_samples_are_listed_with_their_reasons_the_newest_first(
    queue: Queues, redis: Redis, admin: QueueAdministration
) -> None:
    job = await queue.of(ANNE).submit(request_for(count=2))
    [first] = await claim_from(queue)
    await queue.workers.commit("anna", [drawn(first, 0, 1)])
    await queue.workers.commit("anna", [drawn(first, 1, 1, Failed("not a number"))])
    for worker in ("one", "two", "three"):
        await claim_from(queue, worker)
        await take_lease_away(queue, redis, worker)
    other = await queue.of(BEN).submit(request_for())
    [claim] = await claim_from(queue)
    await queue.workers.commit("anna", [drawn(claim, 0, 0, Failed("no"))])
    newest, given_up, nan = await admin.dead()
    assert (newest.job, newest.client) == (other.id, "ben")
    assert (given_up.job, given_up.index) == (job.id, 1)
    assert "3 workers in a row fell silent" in given_up.error
    assert (nan.index, nan.rows, nan.error) == (0, 1, "not a number")
    assert [sample.index for sample in await admin.dead(job_id=job.id)] == [1, 0]
    assert len(await admin.dead(limit=2)) == 2
    assert (await admin.statistics()).dead == 3


async def test_a_failed_sample_is_drawn_again_in_a_new_job_of_its_client(
    queue: Queues, admin: QueueAdministration
) -> None:
    job = await queue.of(ANNE).submit(request_for(count=3, first_index=10, kept=b"\xff" * 48))
    claims = await claim_from(queue, limit=3)
    outcomes = [finished(claims[0]), drawn(claims[1], 0, 1, Failed("no")), finished(claims[2])]
    await queue.workers.commit("anna", outcomes)
    again = await admin.retry(job.id, 1)
    assert (again.client, again.request.count, again.request.first_index) == ("anne", 1, 11)
    assert (await admin.retry(job.id, 1)).id == again.id
    [claim] = await claim_from(queue)
    assert (claim.request.seed, claim.request.kept) == (job.request.seed, b"\xff" * 48)
    await queue.workers.commit("anna", [finished(claim)])
    assert (await queue.of(ANNE).get(again.id)).state is JobState.SUCCEEDED
    assert (await queue.of(ANNE).get(job.id)).state is JobState.FAILED  # it does not change any more


async def test_only_a_sample_that_failed_is_drawn_again(queue: Queues, admin: QueueAdministration) -> None:
    job = await queue.clients.submit(request_for())
    await queue.workers.commit("anna", [finished(claim) for claim in await claim_from(queue)])
    for index in (0, 1, 10**9):
        with pytest.raises(InvalidRequest, match="has not failed"):
            await admin.retry(job.id, index)
    with pytest.raises(JobNotFound):
        await admin.retry("gone", 0)


async def test_an_audit_on_demand_repairs_and_says_what(
    queue: Queues, redis: Redis, admin: QueueAdministration
) -> None:
    job = await queue.clients.submit(request_for())
    assert await admin.audit() == {}
    await redis.hset(queue.store.keys.job(job.id), "done", "1")
    assert await admin.audit() == {"results": 1}
