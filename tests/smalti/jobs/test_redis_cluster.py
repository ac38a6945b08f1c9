"""A queue in a Redis cluster: all of a pool is in one slot, and calls go to the node that holds it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from smalti.jobs.connection import connect
from smalti.jobs.job import JobState
from smalti.jobs.keys import Keys
from tests.queues import queues_on
from tests.redis_kinds import USERS, RedisCluster
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import claim_from, drawn, finished, request_for

SLOT = Keys("default").slot


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


async def test_a_job_is_drawn_in_a_cluster_and_all_its_keys_are_on_one_node(cluster: RedisCluster) -> None:
    async with connect(cluster.url, slot=SLOT) as redis:
        queue = queues_on(redis, lease_seconds=60)
        await queue.upkeep.check()
        job = await queue.clients.submit(request_for(count=3))
        claims = await claim_from(queue, limit=3)
        await queue.workers.commit("anna", [drawn(claim, 0, 1) for claim in claims])
        assert [rows.index for rows in await queue.watchers.rows(job, {})] == [0, 1, 2]
        await queue.workers.commit("anna", [finished(claim) for claim in claims])
        assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED
        await audit_pool(redis)
    for node in cluster.nodes:
        if node is not cluster.node_of(SLOT):
            async with connect(node.url) as other:
                assert await other.dbsize() == 0


async def test_calls_follow_a_slot_that_moves_to_another_node(cluster: RedisCluster) -> None:
    async with connect(cluster.url, slot=SLOT) as redis:
        queue = queues_on(redis, lease_seconds=60)
        job = await queue.clients.submit(request_for())
        claims = await claim_from(queue, "ben")
        old = cluster.node_of(SLOT)
        [new, *_] = [node for node in cluster.nodes if node is not old]
        cluster.move(SLOT, new)
        await queue.workers.commit("ben", [finished(claim) for claim in claims])
        assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED
        await audit_pool(redis)
    async with connect(old.url) as other:
        assert await other.dbsize() == 0


async def test_a_slot_is_found_though_the_first_node_is_down(tmp_path: Path) -> None:
    with RedisCluster(tmp_path) as started:
        [down, *_] = [node for node in started.nodes if node is not started.node_of(SLOT)]
        url = started.url.replace(f"127.0.0.1:{down.port}", "127.0.0.1:1")
        down.kill()
        async with connect(url, slot=SLOT) as redis:
            await queues_on(redis).upkeep.check()


async def test_the_servers_user_needs_one_more_right_in_a_cluster(cluster: RedisCluster) -> None:
    [line] = [line for line in USERS.read_text().splitlines() if line.startswith("user smalti-server ")]
    for node in cluster.nodes:
        async with Redis(port=node.port) as admin:
            await admin.execute_command("ACL SETUSER", *line.split()[1:], "+cluster|slots")
    url = cluster.url.replace("://", "://smalti-server:change-me-server@")
    async with connect(url, slot=SLOT) as redis:
        queue = queues_on(redis, lease_seconds=60)
        await queue.upkeep.check()
        assert (await queue.clients.submit(request_for())).id
