"""A pool in several parts looks like one queue to its clients, watchers and admins."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import InvalidRequest, LimitReached, RequestConflict, Unavailable
from smalti.jobs.administration import QueueAdministration
from smalti.jobs.clients import ClientQueue
from smalti.jobs.connection import connect
from smalti.jobs.job import Job, JobState
from smalti.jobs.keys import Keys
from smalti.jobs.limits import DEFAULT_LIMITS, EVERYBODY, ClientLimits, QueueLimits
from smalti.jobs.shards import Shards, names_of_shards, open_shards
from smalti.jobs.sharing import ClientWeights
from smalti.jobs.store import QueueStore
from smalti.jobs.upkeep import QueueUpkeep
from smalti.jobs.watchers import WatcherQueue
from smalti.runtime.settings import SharedSettings
from tests.queues import Queues, queues_of
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import ANNE, Asking, claim_from, finished, request_for, rows_of

PARTS = 3
CLUSTER_SLOTS = 16384


@pytest.fixture
async def shards(redis: Redis) -> AsyncIterator[Shards]:
    """Three parts, all in one Redis."""
    names = names_of_shards("default", PARTS)
    stores = [QueueStore(redis, pool=name, lease_seconds=60, has_siblings=True) for name in names]
    yield Shards(stores)
    for name in names:
        await audit_pool(redis, name)


@pytest.fixture
def parts(shards: Shards) -> list[Queues]:
    return [queues_of(store) for store in shards.all]


async def draw_all(parts: list[Queues]) -> int:
    drawn = 0
    for part in parts:
        while claims := await claim_from(part, limit=64):
            await part.workers.commit("anna", [finished(claim) for claim in claims])
            drawn += len(claims)
    return drawn


async def pages(queue: ClientQueue, size: int) -> list[list[Job]]:
    found, token = [], ""
    while True:
        jobs, token = await queue.of(EVERYBODY).list(limit=size, page_token=token)
        found.append([*jobs])
        if not token:
            return found


@pytest.mark.parametrize("number", [1, 2, 3, 5, 16])
def test_the_parts_of_a_pool_lie_evenly_in_a_cluster(number: int) -> None:
    names = names_of_shards("pool", number)
    slots = [Keys(name).slot for name in names]
    if number > 1:
        assert [slot * number // CLUSTER_SLOTS for slot in slots] == [*range(number)]
        assert not {*names} & {*names_of_shards("pool", number + 1)}


async def test_every_job_is_in_one_part_and_is_found_there(shards: Shards, parts: list[Queues]) -> None:
    queue = ClientQueue(shards)
    clients = queue.of(EVERYBODY)
    jobs = [await clients.submit(request_for(count=2, seed=seed)) for seed in range(30)]
    assert len(Counter(shards.of(job.id) for job in jobs)) == PARTS
    assert await draw_all(parts) == 60
    for job in jobs:
        assert (await clients.get(job.id)).state is JobState.SUCCEEDED
        results = [result.pixels async for result in WatcherQueue(shards).results(job)]
        assert results == [rows_of(0, 0, 4), rows_of(1, 0, 4)]
    await clients.delete(jobs[0].id)
    assert {job.id for page in await pages(queue, 7) for job in page} == {job.id for job in jobs[1:]}


async def test_one_request_id_makes_one_job_whatever_part_it_falls_into(shards: Shards) -> None:
    clients = ClientQueue(shards).of(EVERYBODY)
    for number in range(10):
        request_id = f"request {number}"
        sent = (clients.submit(request_for(), request_id=request_id) for _ in range(5))
        assert len({job.id for job in await asyncio.gather(*sent)}) == 1
        with pytest.raises(RequestConflict):
            await clients.submit(request_for(seed=8), request_id=request_id)


@pytest.mark.parametrize("size", [1, 4, 50])
async def test_pages_list_every_job_once_and_the_newest_first(shards: Shards, size: int) -> None:
    queue = ClientQueue(shards)
    jobs = [await queue.of(EVERYBODY).submit(request_for(seed=seed)) for seed in range(17)]
    found = await pages(queue, size)
    assert [job.id for page in found for job in page] == [job.id for job in reversed(jobs)]
    assert all(len(page) == size for page in found[:-1])


@pytest.mark.parametrize("token", ["7", "7.8", "7.8.9.1", "x.y.z", "1.2.3x", "..-."])
async def test_a_token_that_is_not_from_this_server_is_refused(shards: Shards, token: str) -> None:
    with pytest.raises(InvalidRequest, match="page token"):
        await ClientQueue(shards).of(EVERYBODY).list(limit=1, page_token=token)


async def test_limits_count_the_jobs_of_all_parts(shards: Shards) -> None:
    limits = QueueLimits(jobs=100, client=ClientLimits(jobs=10, pixels=None, result_bytes=None))
    clients = ClientQueue(shards, limits=limits).of(ANNE)
    for seed in range(10):
        await clients.submit(request_for(seed=seed))
    with pytest.raises(LimitReached, match="You have 10 of at most 10 unfinished jobs"):
        await clients.submit(request_for(seed=10))
    await ClientQueue(shards, limits=limits).of(Asking("ben")).submit(request_for())


async def test_admins_see_and_change_all_parts_at_once(shards: Shards, parts: list[Queues]) -> None:
    queue = ClientQueue(shards)
    for seed in range(12):
        await queue.of(ANNE).submit(request_for(seed=seed))
    admin = QueueAdministration(shards, queue)
    await ClientWeights(shards).set("anne", 2.0)
    held = [await claim_from(part) for part in parts]
    statistics = await admin.statistics()
    assert (statistics.depth.running_jobs, statistics.depth.queued_jobs) == (PARTS, 12 - PARTS)
    assert [(client.name, client.jobs, client.weight) for client in statistics.clients] == [("anne", 12, 2.0)]
    assert [(worker.name, worker.held) for worker in statistics.workers] == [("anna", sum(map(len, held)))]
    await admin.pause()
    assert not any([await claim_from(part) for part in parts])
    await admin.drain("anna")
    assert all([await part.workers.is_draining("anna") for part in parts])
    assert not await admin.audit()


async def test_a_part_that_is_away_fails_at_once_and_the_others_go_on() -> None:
    async with AsyncExitStack() as stack:
        servers = [stack.enter_context(PrivateRedis()) for _ in range(2)]
        clients = [await stack.enter_async_context(connect(server.url)) for server in servers]
        shards = Shards([QueueStore(client, pool="p", has_siblings=True) for client in clients])
        queue = ClientQueue(shards, limits=DEFAULT_LIMITS).of(EVERYBODY)
        jobs = [await queue.submit(request_for(seed=seed)) for seed in range(20)]
        lost = [job for job in jobs if shards.of(job.id) is shards.all[1]]
        servers[1].kill()
        with pytest.raises(Unavailable):
            await queue.get(lost[0].id)
        for job in set(jobs) - set(lost):
            await queue.get(job.id)
        for seed in range(20, 40):  # new jobs go to the part that answers
            assert shards.of((await queue.submit(request_for(seed=seed))).id) is shards.all[0]
        servers[1].start()
        with pytest.raises(Unavailable):  # until its upkeep has looked
            await queue.get(lost[0].id)
        await QueueUpkeep(shards.all[1]).check()
        assert [(await queue.get(job.id)).id for job in lost] == [job.id for job in lost]


async def test_the_settings_say_how_many_parts_a_pool_has(redis_url: str) -> None:
    settings = SharedSettings(redis_url=redis_url, pool="mine", shards=2)
    async with open_shards(settings, 4, 2) as (users, upkeep):
        assert [store.keys.pool for store in users.all] == [store.keys.pool for store in upkeep.all]
        assert [store.keys.pool.partition("/")[0] for store in users.all] == ["mine", "mine"]
        await ClientQueue(users).of(EVERYBODY).submit(request_for())
        assert sum([(await QueueUpkeep(store).depth()).queued_jobs for store in upkeep.all]) == 1
