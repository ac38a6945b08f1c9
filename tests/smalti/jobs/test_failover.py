"""A failover to a replica that lacks the last write: nothing is lost for good, and no byte changes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import RedisUnfit, RequestConflict, Unavailable
from smalti.jobs.connection import connect
from smalti.jobs.job import Claim, Job, JobState, Verdict
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.redis_kinds import REPLICATING, Replicated, users_for_tests
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import (
    COLUMNS,
    ROWS,
    claim_from,
    drawn,
    finished,
    request_for,
    rows_of,
)


class Pair:
    """A master and its replica, each with the queue as it knows it. `part` ends the replication."""

    def __init__(self, master: Redis, replica: Redis, until: Until) -> None:
        self.old, self.new = queues_on(master, lease_seconds=60), queues_on(replica, lease_seconds=60)
        self._master, self.replica = master, replica
        self._until = until

    async def part(self) -> None:
        """Let the replica have everything so far, and nothing that follows: it becomes the master."""

        async def has_all() -> bool:
            its, own = await self._master.info("replication"), await self.replica.info("replication")
            return bool(own["slave_repl_offset"] == its["master_repl_offset"])

        await self._until(has_all)
        await self.replica.execute_command("REPLICAOF", "NO", "ONE")


@pytest.fixture
async def pair(until: Until) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        old = stack.enter_context(PrivateRedis(options=REPLICATING))
        new = stack.enter_context(PrivateRedis(options={**REPLICATING, "replicaof": f"127.0.0.1 {old.port}"}))
        master = await stack.enter_async_context(connect(old.url))
        replica = await stack.enter_async_context(Redis(port=new.port))

        async def follows() -> bool:
            return bool((await replica.info("replication"))["master_link_status"] == "up")

        await until(follows)
        yield Pair(master, replica, until)
        await audit_pool(replica)
        new.kill()


async def results(queue: Queues, job: Job) -> dict[int, bytes]:
    return {result.index: result.pixels async for result in queue.watchers.results(job)}


async def finish(queue: Queues, claims: list[Claim], worker: str = "anna") -> None:
    for reply in await queue.workers.commit(worker, [finished(claim) for claim in claims]):
        assert reply.verdict is Verdict.ACCEPTED


async def test_a_lost_claim_is_fenced_and_its_sample_is_drawn_by_another(pair: Pair) -> None:
    job = await pair.old.clients.submit(request_for())
    await pair.part()
    [lost] = await claim_from(pair.old)
    [reply] = await pair.new.workers.commit("anna", [drawn(lost, 0, 1)])
    assert reply.verdict is Verdict.FENCED
    await finish(pair.new, await claim_from(pair.new, "ben"), "ben")
    assert await results(pair.new, job) == {0: rows_of(0, 0, ROWS)}


async def test_rows_of_a_lost_commit_are_sent_again(pair: Pair) -> None:
    job = await pair.old.clients.submit(request_for())
    [claim] = await claim_from(pair.old)
    await pair.old.workers.commit("anna", [drawn(claim, 0, 1)])
    await pair.part()
    await pair.old.workers.commit("anna", [drawn(claim, 1, 3)])
    [reply] = await pair.new.workers.commit("anna", [drawn(claim, 3, ROWS)])
    assert (reply.verdict, reply.rows) == (Verdict.BEHIND, 1)
    [reply] = await pair.new.workers.commit("anna", [drawn(claim, reply.rows, 3)])
    assert reply.verdict is Verdict.ACCEPTED
    known = Claim(job=claim.job, index=0, token=claim.token, request=claim.request, pixels=b"x" * 3 * COLUMNS)
    await finish(pair.new, [known])
    assert await results(pair.new, job) == {0: rows_of(0, 0, ROWS)}


async def test_a_lost_end_of_a_sample_is_drawn_again_with_equal_bytes(pair: Pair) -> None:
    job = await pair.old.clients.submit(request_for())
    [claim] = await claim_from(pair.old)
    await pair.part()
    await finish(pair.old, [claim])
    before = await results(pair.old, job)
    assert await pair.new.workers.renew("anna", sequence=2, tokens=[])  # its worker lives, and holds nothing
    await finish(pair.new, await claim_from(pair.new, "ben"), "ben")
    assert await results(pair.new, job) == before
    assert (await pair.new.clients.get(job.id)).state is JobState.SUCCEEDED


async def test_a_lost_submit_is_healed_by_its_request_id(pair: Pair) -> None:
    await pair.part()
    await pair.old.clients.submit(request_for(), request_id="once")
    first, again = [await pair.new.clients.submit(request_for(), request_id="once") for _ in range(2)]
    assert first.id == again.id
    with pytest.raises(RequestConflict):
        await pair.new.clients.submit(request_for(seed=8), request_id="once")


async def test_a_lost_cancel_can_be_sent_again(pair: Pair) -> None:
    job = await pair.old.clients.submit(request_for())
    await pair.part()
    await pair.old.clients.cancel(job.id)
    assert (await pair.new.clients.get(job.id)).state is JobState.QUEUED
    assert (await pair.new.clients.cancel(job.id)).state is JobState.CANCELLED


async def test_calls_follow_the_master_that_sentinels_name(tmp_path: Path, until: Until) -> None:
    with Replicated(tmp_path) as servers:
        async with connect(servers.url) as redis:
            queue = queues_on(redis, lease_seconds=60)
            await queue.upkeep.check()
            job = await queue.clients.submit(request_for())
            servers.await_replicas()
            old = servers.master
            old.kill()
            new = servers.await_failover_from(old)
            assert (await queue.clients.get(job.id)).state is JobState.QUEUED
            await finish(queue, await claim_from(queue))
            old.start()  # it comes back as a replica, and nobody follows it
            servers.await_replicas()
            assert servers.master is new
            assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED


async def test_servers_workers_replicas_and_sentinels_have_users_of_their_own(
    tmp_path: Path, until: Until
) -> None:
    with Replicated(tmp_path, users=users_for_tests(tmp_path)) as servers:
        scheme, _, hosts = servers.url.partition("://")
        async with AsyncExitStack() as stack:
            server, worker = [
                queues_on(
                    await stack.enter_async_context(
                        connect(f"{scheme}://smalti-{name}:change-me-{name}@{hosts}")
                    ),
                    lease_seconds=60,
                )
                for name in ("server", "worker")
            ]
            job = await server.clients.submit(request_for())
            servers.await_replicas()
            old = servers.master
            old.kill()
            servers.await_failover_from(old)
            await finish(worker, await claim_from(worker))
            assert (await server.clients.get(job.id)).state is JobState.SUCCEEDED


async def test_a_password_of_the_sentinels_is_given_to_them_alone(tmp_path: Path) -> None:
    with Replicated(tmp_path) as servers:
        servers.lock_sentinels("secret")
        async with connect(f"{servers.url}?sentinel_password=secret") as redis:
            await queues_on(redis).upkeep.check()
        async with connect(f"{servers.url}?sentinel_password=wrong") as redis:
            with pytest.raises(RedisUnfit, match="refuses the user, password"):
                await queues_on(redis).upkeep.check()


async def test_a_master_that_the_sentinels_do_not_know_is_named(tmp_path: Path) -> None:
    with Replicated(tmp_path) as servers:
        async with connect(servers.url.replace("/smalti/", "/other/")) as redis:
            with pytest.raises(Unavailable, match="know no master 'other'"):
                await queues_on(redis).upkeep.check()
