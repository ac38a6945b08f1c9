"""The users of deploy/redis-users.acl can do what they are for, and no more."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from local.private_redis import PrivateRedis
from smalti.errors import RedisUnfit
from smalti.jobs.administration import QueueAdministration
from smalti.jobs.connection import connect
from smalti.jobs.job import JobState
from tests.queues import Queues, queues_on
from tests.redis_kinds import USERS, users_for_tests
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import claim_from, drawn, finished, request_for, silence

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "smalti" / "jobs" / "scripts"
# What Python sends itself, apart from scripts.
GREETING = {"info", "client|setname", "evalsha", "eval"}
OF_BOTH = GREETING | {"type", "hget", "xread"}
OF_THE_SERVER = {
    *("zrange", "getrange", "smembers", "hmget", "xrevrange"),
    *("scan", "sscan", "zscan", "xlen", "hgetall"),
}
SCRIPTS_OF_THE_SERVER_ALONE = {"submit", "delete", "requests", "drawable", "pause_pool", "drain", "take_turn"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """A Redis with these users, and one for the test itself."""
    with PrivateRedis(options={"aclfile": str(users_for_tests(tmp_path_factory.mktemp("acl")))}) as server:
        yield server


def url(server: PrivateRedis, user: str) -> str:
    return f"redis://smalti-{user}:change-me-{user}@127.0.0.1:{server.port}/0"


@pytest.fixture
async def everything(guarded: PrivateRedis) -> AsyncIterator[Redis]:
    """A client that may do everything, of an empty Redis."""
    async with Redis(port=guarded.port, username="test", password="any") as redis:
        await redis.flushall()
        yield redis


@asynccontextmanager
async def queues_of(server: PrivateRedis, *users: str) -> AsyncIterator[list[Queues]]:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(url(server, user))) for user in users]
        yield [queues_on(client, lease_seconds=60) for client in clients]


async def test_server_and_worker_do_all_their_work_with_their_own_users(
    guarded: PrivateRedis, everything: Redis
) -> None:
    async with queues_of(guarded, "server", "worker") as (server, worker):
        for side in (server, worker):
            await side.upkeep.check()
        job = await server.clients.submit(request_for(count=6, retention_seconds=0.01), request_id="once")
        await server.clients.submit(request_for(count=6, retention_seconds=0.01), request_id="once")
        events = server.watchers.events()
        await anext(events)
        claims = await claim_from(worker, limit=3)
        await worker.workers.commit("anna", [drawn(claim, 0, 1) for claim in claims])
        assert [rows.index for rows in await server.watchers.rows(job, {})] == [0, 1, 2]
        await worker.workers.commit("anna", [finished(claims[0])])
        await worker.workers.renew("anna", sequence=2, tokens=[claims[1].token])
        await worker.workers.leave("anna")
        [lost] = await claim_from(worker, "ben")
        await worker.upkeep.recover()
        await silence(everything, "ben")
        assert await worker.upkeep.recover() == 1
        assert [result.index async for result in server.watchers.results(job)] == [0]
        assert await server.watchers.ended(job) == [(0, True)]
        for side in (server, worker):
            await side.upkeep.depth()
            await side.upkeep.recount(every_seconds=0)
            await side.upkeep.expire()
        await worker.workers.wait_for_work(0.01)
        await worker.workers.wait_for_interactive(0.01)
        assert (await server.clients.cancel(job.id)).state is JobState.CANCELLED
        assert await server.clients.list(limit=5)
        await server.clients.delete(job.id)
        await audit_pool(everything)
        assert lost.job == job.id
        assert await server.upkeep.audit(every_seconds=0) == {}
        admin = QueueAdministration(server.store, server.all_clients)
        await admin.pause()
        await claim_from(worker, "clara")
        await admin.drain("clara")
        assert (await admin.statistics()).is_paused
        assert await worker.workers.is_draining("clara")
        assert await admin.dead() == []


@pytest.mark.parametrize("user", ["server", "worker", "admin"])
@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("CONFIG", "SET", "appendonly", "no"),
        ("SHUTDOWN",),
        ("REPLICAOF", "NO", "ONE"),
        ("ACL", "SETUSER", "eve", "on"),
        ("SCRIPT", "FLUSH"),
        ("PUBLISH", "news", "x"),
        ("SET", "key of somebody else", "x"),
        ("GET", "key of somebody else"),
        ("HGET", "smalti:{other}:meta", "schema"),
    ],
)
async def test_nobody_may_do_what_smalti_never_does(
    guarded: PrivateRedis, user: str, command: tuple[str, ...]
) -> None:
    async with Redis.from_url(url(guarded, user)) as redis:
        with pytest.raises(NoPermissionError, match=r"(?i)permission"):
            await redis.execute_command(*command)


async def test_an_admin_looks_at_everything_of_the_pool_and_changes_nothing(guarded: PrivateRedis) -> None:
    async with Redis.from_url(url(guarded, "admin")) as redis:
        for question in (("INFO",), ("CONFIG", "GET", "maxmemory"), ("SLOWLOG", "GET"), ("ACL", "LOG")):
            await redis.execute_command(*question)
        await redis.hget("smalti:{default}:meta", "schema")
        with pytest.raises(NoPermissionError):
            await redis.hset("smalti:{default}:meta", "schema", "99")


async def test_a_user_for_another_pool_is_refused_in_one_sentence(guarded: PrivateRedis) -> None:
    async with connect(url(guarded, "server")) as redis:
        with pytest.raises(RedisUnfit, match=r"refuses the user, password or database.*permission"):
            await queues_on(redis, pool="other").upkeep.check()


def commands_of(scripts: set[str], known: set[str]) -> set[str]:
    """The commands that these scripts may run."""
    words = {word for name in scripts for word in re.findall(r"'([A-Z]+)'", (SCRIPTS / name).read_text())}
    return {word.lower() for word in words} & known


def granted(user: str) -> set[str]:
    [line] = [line for line in USERS.read_text().splitlines() if line.startswith(f"user smalti-{user} ")]
    return {rule[1:] for rule in line.split() if rule.startswith("+")}


@pytest.mark.parametrize("user", ["server", "worker"])
async def test_a_user_has_every_command_that_its_scripts_run_and_no_other(
    everything: Redis, user: str
) -> None:
    known = set(await everything.command())
    scripts = {path.name for path in SCRIPTS.glob("*.lua")}
    if user == "worker":
        scripts -= {f"{name}.lua" for name in SCRIPTS_OF_THE_SERVER_ALONE}
        scripts = {name for name in scripts if not name.startswith("audit_")}
    wanted = commands_of(scripts, known) | OF_BOTH | (OF_THE_SERVER if user == "server" else set())
    line = " ".join(f"+{name}" for name in sorted(wanted))
    assert granted(user) == wanted, f"in deploy/redis-users.acl, smalti-{user} must have: -@all {line}"
