"""Which Redis is fit, and which error of ours each of its errors becomes."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import JobNotFound, QueueFull, RedisUnfit, Unavailable
from smalti.jobs.connection import Refused, connect, refuse_if_unfit, unavailable_when_away
from smalti.jobs.job import Job, JobState
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.smalti.jobs.story import request_for

FIT = {"redis_version": "7.0.15", "aof_enabled": 1, "maxmemory": 1000, "maxmemory_policy": "noeviction"}


@pytest.mark.parametrize("version", ["6.2.0", "7.0.15", "8.0", "10.1.2"])
def test_redis_from_6_2_on_is_fit(version: str) -> None:
    refuse_if_unfit(FIT | {"redis_version": version}, allow_volatile=False)


@pytest.mark.parametrize("version", ["5.0.14", "6.0.16", "2.8"])
def test_an_older_redis_is_always_refused(version: str) -> None:
    with pytest.raises(RedisUnfit, match="too old"):
        refuse_if_unfit(FIT | {"redis_version": version}, allow_volatile=True)


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({"aof_enabled": 0}, "appendonly"),
        ({"maxmemory": 0}, "set maxmemory;"),
        ({"maxmemory_policy": "allkeys-lru"}, "noeviction"),
    ],
)
def test_a_redis_that_could_lose_jobs_is_refused_unless_that_is_allowed(
    fault: dict[str, Any], word: str
) -> None:
    with pytest.raises(RedisUnfit, match=word):
        refuse_if_unfit(FIT | fault, allow_volatile=False)
    refuse_if_unfit(FIT | fault, allow_volatile=True)


def test_a_redis_that_still_reads_its_data_is_not_judged() -> None:
    with pytest.raises(Unavailable, match="reading its data"):
        refuse_if_unfit(FIT | {"aof_enabled": 0, "loading": 1}, allow_volatile=False)


async def test_a_private_redis_is_fit_until_its_configuration_could_lose_jobs(
    own_redis: PrivateRedis,
) -> None:
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis)
        await queue.upkeep.check()
        await redis.config_set("appendonly", "no")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(RedisUnfit, match="appendonly to yes, set maxmemory-policy"):
            await queue.upkeep.check()
        await queues_on(redis, allow_volatile=True).upkeep.check()


async def test_an_unfit_redis_refuses_every_call_until_a_check_finds_it_repaired(
    own_redis: PrivateRedis,
) -> None:
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis)
        await redis.config_set("maxmemory", 0)
        with pytest.raises(RedisUnfit):
            await queue.upkeep.check()
        for call in (
            queue.clients.list(limit=1),
            queue.upkeep.depth(),
            queue.clients.list(limit=1),
            queue.upkeep.recover(),
        ):
            with pytest.raises(Unavailable, match="set maxmemory"):
                await call
        await redis.config_set("maxmemory", "100mb")
        await queue.upkeep.check()
        await queue.clients.list(limit=1)


async def test_no_command_reaches_a_redis_that_was_restarted_unfit(own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis)
        await queue.clients.list(limit=1)  # given connections to the one that was fit
        own_redis.restart_with(maxmemory_policy="allkeys-lru")
        for _ in range(12):
            with pytest.raises(Unavailable, match="noeviction"):
                await queue.clients.submit(request_for())
    async with connect(own_redis.url, allow_volatile=True) as redis:
        assert await redis.dbsize() == 0  # then not one of them was written
        assert (await queues_on(redis, allow_volatile=True).clients.submit(request_for())).id


async def test_a_full_redis_can_be_read_after_a_restart(own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis:
        known = queues_on(redis)
        await known.upkeep.check()
        job = await known.clients.submit(request_for())
    own_redis.restart_with(maxmemory="400kb")  # less than an empty Redis uses
    async with connect(own_redis.url) as redis:
        new = queues_on(redis, pool="new")
        for queue in (known_again := queues_on(redis), new):
            await queue.upkeep.check()
            with pytest.raises(QueueFull):
                await queue.clients.submit(request_for())
        assert await redis.hget("smalti:{new}:meta", "schema")  # so that no other layout takes its place
        assert (await known_again.clients.cancel(job.id)).state is JobState.CANCELLED
        await known_again.clients.delete(job.id)


async def test_a_queue_of_another_layout_is_refused(redis: Redis) -> None:
    queue = queues_on(redis, pool="other")
    await redis.hset("smalti:{other}:meta", "schema", "99")
    with pytest.raises(RedisUnfit, match="layout"):
        await queue.upkeep.check()


OF_A_POOL = ["meta", "jobs", "queued", "workers", "expiry", "events", "bell", "interactive"]


@pytest.mark.parametrize("name", OF_A_POOL)
async def test_check_names_a_pool_key_that_somebody_else_wrote(redis: Redis, name: str) -> None:
    queue, key = queues_on(redis), "smalti:{default}:" + name
    await redis.set(key, "x")
    with pytest.raises(RedisUnfit, match=f"The key '{key}' in this Redis is not smalti's.*SMALTI_POOL"):
        await queue.upkeep.check()
    with pytest.raises(Refused, match=key):
        await queue.upkeep.depth()
    await redis.delete(key)
    await queue.upkeep.check()
    await queue.upkeep.depth()


async def test_a_script_that_meets_a_key_of_another_type_gives_one_sentence(redis: Redis) -> None:
    queue = queues_on(redis)
    await redis.zadd("smalti:{default}:workers", {"gone": 1})
    await redis.set("smalti:{default}:held:gone", "x")
    await redis.hset("smalti:{default}:meta", "recovered", (await redis.time())[0] * 1000)
    with pytest.raises(Refused, match="A key in this Redis is not smalti's"):
        await queue.upkeep.recover()


SINGLE_READS: dict[str, Callable[[Queues], Awaitable[Any]]] = {
    "bell": lambda queue: queue.workers.wait_for_work(0.1),
    "interactive": lambda queue: queue.workers.wait_for_interactive(0.1),
    "events": lambda queue: anext(queue.watchers.events()),
    "jobs": lambda queue: queue.clients.list(limit=1),
    "ended:a": lambda queue: queue.watchers.ended(Job(id="a", request=request_for(), created=0.0)),
}


@pytest.mark.parametrize("name", SINGLE_READS)
async def test_a_read_of_a_key_of_another_type_names_it(redis: Redis, name: str) -> None:
    key = "smalti:{default}:" + name
    await redis.eval("redis.call('LPUSH', KEYS[1], 'x')", 1, key)
    with pytest.raises(Refused, match=f"The key '{key}'"):
        await SINGLE_READS[name](queues_on(redis))


async def test_a_foreign_key_under_a_jobs_name_does_not_hide_other_jobs(redis: Redis) -> None:
    queue, prefix = queues_on(redis), "smalti:{default}:"
    job = await queue.clients.submit(request_for())
    await redis.set(prefix + "job:zzzz", "x")
    await redis.zadd(prefix + "jobs", {"zzzz": 99})
    await redis.zadd(prefix + "expiry", {"zzzz": 1})
    for call in (queue.clients.get("zzzz"), queue.clients.cancel("zzzz"), queue.clients.delete("zzzz")):
        with pytest.raises(JobNotFound):
            await call
    assert [each.id for each in (await queue.clients.list(limit=5))[0]] == [job.id]
    assert await queue.upkeep.expire() == 1
    assert await redis.zcard(prefix + "jobs") == 1


async def test_a_redis_that_is_away_is_unavailable_within_seconds() -> None:
    server = PrivateRedis().start()
    server.stop()
    async with connect(server.url) as redis:
        queue = queues_on(redis)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(queue.upkeep.depth(), 8)


async def test_hundreds_of_calls_at_once_wait_for_a_connection(redis: Redis) -> None:
    queue = queues_on(redis)
    await asyncio.gather(*(queue.upkeep.depth() for _ in range(300)))
    assert len(await redis.client_list()) < 50


@pytest.mark.parametrize(
    "error",
    [
        exceptions.BusyLoadingError("LOADING"),
        exceptions.ResponseError("BUSY Redis is busy running a script"),
        exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        exceptions.ReadOnlyError("You can't write against a read only replica."),
        exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        exceptions.ResponseError(
            "Error running script (call to f_1): @user_script:9: -OOM command not allowed"
        ),
        exceptions.ResponseError(
            "Error running script (call to f_1): @user_script:9: -MISCONF Errors writing"
        ),
        exceptions.TimeoutError("slow"),
        ConnectionResetError("gone"),
    ],
)
def test_errors_that_may_pass_become_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable), unavailable_when_away():
        raise error


async def test_a_wrong_password_is_reported_at_once(own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis:
        await redis.config_set("requirepass", "secret")
    for url in (own_redis.url, own_redis.url.replace("redis://", "redis://:wrong@")):
        async with connect(url) as redis:
            with pytest.raises(RedisUnfit, match="password"):
                await queues_on(redis).upkeep.check()


PASSING = [
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "NOREPLICAS Not enough good replicas to write.",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "REDIRECT 127.0.0.1:6381",
    "INPROG Failover already in progress.",
    "NOGOODSLAVE No suitable replica to promote",
    "NOMASTERLINK Can't SYNC while not connected with my master",
    "IOERR error or timeout reading to target instance",
    "UNKILLABLE Sorry the script already executed write commands against the dataset.",
    "SOMEDAY a word that no Redis says yet",
    "ERR max number of clients reached",
    "ERR max number of clients + cluster connections reached",
    "ERR Error running script (call to f_1): @user_script:1: Script killed by user with SCRIPT KILL...",
    "ERR Error running script (call to f_1): @user_script:9: -NOREPLICAS Not enough good replicas to write.",
    "READONLY You can't write against a read only replica. script: 1f, on @user_script:9.",
    "OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:9.",
]
REFUSING = [
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM this user has no permissions to run the 'evalsha' command or its subcommand",
    "DENIED Redis is running in protected mode because protected mode is enabled",
    "ERR Client sent AUTH, but no password is set",
    "ERR AUTH <password> called without any password configured for the default user. Are you sure?",
    "ERR DB index is out of range",
    "ERR SELECT is not allowed in cluster mode",
    "ERR Error running script (call to f_1): @user_script: 9: The user executing the script can't run this command",
    "ERR unknown command `EVALSHA`, with args beginning with: ",
    "NOPROTO unsupported protocol version",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "WRONGTYPE Operation against a key holding the wrong kind of value script: 1f, on @user_script:9.",
    "ERR Error running script (call to f_1): @user_script:9: -WRONGTYPE Operation against a key",
    "ERR Error running script (call to f_1): @user_script:9: WRONGTYPE Operation against a key",
]
OURS = [
    "ERR syntax error",
    "ERR EXEC without MULTI",
    "ERR Error running script (call to f_1): @user_script:9: attempt to index a nil value",
    "CROSSSLOT Keys in request don't hash to the same slot",
]


async def answered(redis: Redis, reply: str, *, in_pipeline: bool) -> None:
    """Make a real Redis give this reply, in a pipeline or not."""
    with unavailable_when_away():
        async with redis.pipeline(transaction=False) as pipe:
            asked = pipe if in_pipeline else redis
            await asked.eval("return redis.error_reply(ARGV[1])", 0, reply)
            await pipe.execute()


@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize("reply", PASSING)
async def test_a_reply_that_may_pass_is_unavailable(redis: Redis, reply: str, in_pipeline: bool) -> None:
    with pytest.raises(Unavailable) as raised:
        await answered(redis, reply, in_pipeline=in_pipeline)
    assert not isinstance(raised.value, Refused)


@pytest.mark.parametrize("reply", REFUSING)
async def test_a_reply_that_needs_a_person_is_refused(redis: Redis, reply: str) -> None:
    with pytest.raises(Refused):
        await answered(redis, reply, in_pipeline=False)


@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize("reply", OURS)
async def test_errors_that_are_our_mistakes_are_not_translated(
    redis: Redis, reply: str, in_pipeline: bool
) -> None:
    with pytest.raises(exceptions.ResponseError):
        await answered(redis, reply, in_pipeline=in_pipeline)


async def test_a_database_that_redis_does_not_have_is_reported_at_the_start(redis_url: str) -> None:
    async with connect(redis_url.removesuffix("/0") + "/99") as redis:
        with pytest.raises(RedisUnfit, match="database"):
            await queues_on(redis).upkeep.check()


@pytest.mark.parametrize("option", ["client_name=a%20b", "client_name=a%0Ab"])
async def test_a_refused_greeting_is_reported_with_redis_reason(redis_url: str, option: str) -> None:
    async with connect(f"{redis_url}?{option}") as redis:
        with pytest.raises(Refused, match="Client names cannot contain spaces"):
            await queues_on(redis).clients.list(limit=1)
        with pytest.raises(RedisUnfit, match="Client names cannot contain spaces"):
            await queues_on(redis).upkeep.check()


@pytest.mark.parametrize("reply", [b":1\r\n", b"+OK\r\n"])
async def test_a_server_that_does_not_greet_like_redis_is_reported(reply: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            writer.write(reply)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        async with connect(f"redis://u:pw@127.0.0.1:{port}/0?protocol=3") as redis:
            with pytest.raises(Unavailable, match="not a Redis"):
                await queues_on(redis).clients.list(limit=1)


async def test_a_password_that_changes_meanwhile_is_waited_for(own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis, connect(own_redis.url) as admin:
        queue = queues_on(redis)
        await queue.upkeep.check()
        await admin.config_set("requirepass", "secret")
        await admin.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(Refused, match="password"):
            await queue.clients.list(limit=1)
        await admin.config_set("requirepass", "")
        await queue.upkeep.check()


async def test_a_demotion_makes_blocked_readers_raise_unavailable(
    own_redis: PrivateRedis, until: Until
) -> None:
    async with connect(own_redis.url) as redis, connect(own_redis.url) as admin:
        queue = queues_on(redis)
        events = queue.watchers.events()
        await anext(events)
        blocked = [
            asyncio.ensure_future(queue.workers.wait_for_work(5)),
            asyncio.ensure_future(anext(events)),
        ]

        async def both_wait() -> bool:
            return int((await admin.info("clients"))["blocked_clients"]) == 2

        await until(both_wait)
        await admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        for reader in blocked:
            with pytest.raises(Unavailable, match="replica"):
                await reader
        with pytest.raises(Unavailable, match="replica"):
            await queue.upkeep.recover()
        await admin.execute_command("REPLICAOF", "NO", "ONE")
        await queue.upkeep.recover()


async def test_a_server_that_speaks_another_protocol_is_reported() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        async with connect(f"redis://127.0.0.1:{port}/0") as redis:
            with pytest.raises(Unavailable, match="not a Redis"):
                await queues_on(redis).clients.list(limit=1)


async def test_a_stopped_redis_does_not_hang_its_callers(own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis)
        await queue.clients.list(limit=1)
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                await asyncio.wait_for(queue.clients.list(limit=1), 12)
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        await queue.clients.list(limit=1)


async def test_a_loop_of_calls_ends_whenever_it_is_cancelled(redis: Redis) -> None:
    queue = queues_on(redis)

    async def ask_for_ever() -> None:
        while True:
            await queue.clients.list(limit=1)

    for delay in range(50):
        asking = asyncio.create_task(ask_for_ever())
        await asyncio.sleep(delay / 10_000)  # before, in and after a call
        asking.cancel()
        done, _ = await asyncio.wait([asking], timeout=5)
        assert done, "it went on as if it had not been cancelled"
