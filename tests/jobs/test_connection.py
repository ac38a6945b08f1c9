"""Which Redis is fit, and what its errors become."""

import asyncio
import os
import signal
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import Redis

from smalti.errors import RedisUnfit, Unavailable
from smalti.jobs.connection import connect, refuse_if_unfit, unavailable_when_away
from smalti.jobs.queue import JobQueue
from smalti.private_redis import PrivateRedis

FIT = {"redis_version": "7.0.15", "aof_enabled": 1, "maxmemory": 1000, "maxmemory_policy": "noeviction"}


@pytest.mark.parametrize("version", ["6.2.0", "7.0.15", "8.0", "10.1.2"])
def test_redis_from_6_2_on_is_fit(version: str) -> None:
    refuse_if_unfit(FIT | {"redis_version": version}, allow_volatile=False)


@pytest.mark.parametrize("version", ["5.0.14", "6.0.16", "2.8"])
def test_an_older_redis_is_refused_in_any_case(version: str) -> None:
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


async def test_a_private_redis_is_fit_until_it_may_forget(own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis:
        queue = JobQueue(redis)
        await queue.check()
        await redis.config_set("appendonly", "no")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(RedisUnfit, match="appendonly to yes, set maxmemory-policy"):
            await queue.check()
        await queue.check(allow_volatile=True)


async def test_a_queue_of_another_layout_is_refused(redis: Redis) -> None:
    queue = JobQueue(redis, pool="other")
    await redis.hset("smalti:{other}:meta", "schema", "99")
    with pytest.raises(RedisUnfit, match="layout"):
        await queue.check()


async def test_a_redis_that_is_away_is_unavailable_within_seconds() -> None:
    server = PrivateRedis().start()
    server.stop()
    async with connect(server.url) as redis:
        queue = JobQueue(redis)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(queue.depth(), 8)


async def test_hundreds_of_calls_at_once_wait_for_a_connection(redis: Redis) -> None:
    queue = JobQueue(redis)
    await asyncio.gather(*(queue.depth() for _ in range(300)))
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
def test_what_passes_by_itself_is_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable), unavailable_when_away():
        raise error


async def test_a_wrong_password_is_said_at_once_and_not_waited_for(own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis:
        await redis.config_set("requirepass", "secret")
    for url in (own_redis.url, own_redis.url.replace("redis://", "redis://:wrong@")):
        async with connect(url) as redis:
            with pytest.raises(RedisUnfit, match="password"):
                await JobQueue(redis).check()


def test_a_mistake_of_ours_stays_what_it_is() -> None:
    with pytest.raises(exceptions.ResponseError), unavailable_when_away():
        raise exceptions.ResponseError("WRONGTYPE Operation against a key")


async def test_a_stopped_redis_does_not_hang_its_callers(own_redis: PrivateRedis) -> None:
    async with connect(own_redis.url) as redis:
        queue = JobQueue(redis)
        await queue.ping()
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                await asyncio.wait_for(queue.ping(), 12)
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        await queue.ping()


async def test_a_loop_of_calls_ends_whenever_it_is_cancelled(redis: Redis) -> None:
    queue = JobQueue(redis)

    async def ask_for_ever() -> None:
        while True:
            await queue.ping()

    for attempt in range(50):
        asking = asyncio.create_task(ask_for_ever())
        await asyncio.sleep(attempt / 10_000)  # before, in and after a call
        asking.cancel()
        done, _ = await asyncio.wait([asking], timeout=5)
        assert done, "it went on as if it had not been cancelled"
