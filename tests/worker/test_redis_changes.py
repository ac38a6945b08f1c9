"""Redis is demoted, made unfit or filled while workers run: they wait, log why, and go on."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from local.private_redis import PrivateRedis
from smalti.jobs.connection import connect
from smalti.jobs.job import JobState
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.worker.conftest import Hire, Model
from tests.worker.story import a_request, assert_undisturbed, ended
from worker.recovery import Recovery

Change = tuple[tuple[str, ...], tuple[str, ...], str]
DEMOTED: Change = (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "is a replica")
EVICTING: Change = (
    ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"),
    ("CONFIG", "SET", "maxmemory-policy", "noeviction"),
    "set maxmemory-policy to noeviction",
)
LOCKED: Change = (
    ("ACL", "SETUSER", "default", "-evalsha", "-xread"),
    ("ACL", "SETUSER", "default", "+@all"),
    "refuses the user",
)


NOT_OURS: Change = (
    ("EVAL", "redis.call('DEL', KEYS[1]) redis.call('SET', KEYS[1], 'x')", "1", "smalti:{default}:bell"),
    ("DEL", "smalti:{default}:bell"),
    "'smalti:{default}:bell' in this Redis is not smalti's",
)

AWAY, BACK = "redis is away; drawing goes on", "redis is back"


@pytest.mark.parametrize(("bad", "good", "reason"), [DEMOTED, EVICTING, LOCKED, NOT_OURS])
@pytest.mark.parametrize("is_drawing", [False, True])
async def test_a_worker_waits_while_redis_cannot_be_used_and_then_goes_on(
    own_redis: PrivateRedis,
    hire: Hire,
    toy: Model,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    bad: tuple[str, ...],
    good: tuple[str, ...],
    reason: str,
    is_drawing: bool,
) -> None:
    monkeypatch.setattr("smalti.jobs.housekeeping._CHECK_SECONDS", 0.1)  # instead of 2 s
    manifest, _ = toy
    async with connect(own_redis.url) as redis, connect(own_redis.url) as admin:
        queue = queues_on(redis, lease_seconds=2.0)
        shift = hire(queue, toy, slots=4, lease_seconds=2.0)
        recovering = asyncio.create_task(Recovery(queue.upkeep).run(shift.stopping))
        count = 20 if is_drawing else 1
        job = await queue.clients.submit(a_request(manifest, count=count))
        if is_drawing:
            shift.gate.permit(2)
            await until(lambda: shift.gate.rows == 2)
        else:
            shift.gate.open()
            await until(ended(queue, job))
            await until(waits_for_work(admin))
        with capture_logs() as logs:
            await admin.execute_command(*bad)
            shift.gate.open()
            await until(lambda: any(reason in str(line.get("reason", "")) for line in logs))
            await admin.execute_command(*good)
        later = await queues_on(admin).clients.submit(a_request(manifest, count=2, seed=9))
        for each in (job, later):
            await until(ended_by(admin, each.id))
        await assert_undisturbed(queues_on(admin), job, toy)
        assert not shift.task.done()
        assert not recovering.done()
        await shift.stop()
        await recovering


async def test_a_redis_that_answers_reads_but_refuses_writes_is_not_back(
    own_redis: PrivateRedis, hire: Hire, toy: Model, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.claiming._IDLE_SECONDS", 0.1)  # instead of 1 s

    async def reads() -> int:
        return int((await admin.info("commandstats")).get("cmdstat_xread", {}).get("calls", 0))

    async def has_read_again() -> bool:
        return await reads() >= before + 3

    async with connect(own_redis.url) as redis, connect(own_redis.url) as admin:
        shift = hire(queues_on(redis), toy, slots=4)
        with capture_logs() as logs:
            await admin.config_set("min-replicas-to-write", 1)
            await until(lambda: any(line["event"] == AWAY for line in logs))
            before = await reads()
            await until(has_read_again)
            assert BACK not in [line["event"] for line in logs]
            await admin.config_set("min-replicas-to-write", 0)
            await until(lambda: any(line["event"] == BACK for line in logs))
        await shift.stop()


async def test_a_worker_on_a_full_redis_claims_nothing_draws_what_it_has_and_logs_it_once(
    own_redis: PrivateRedis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis)
        shift = hire(queue, toy, slots=4)
        job = await queue.clients.submit(a_request(manifest, count=8))
        shift.gate.permit(1)
        await until(lambda: shift.gate.rows == 1)
        with capture_logs() as logs:
            await redis.config_set("maxmemory", 1)
            shift.gate.open()
            await until(done(queue, job.id, 4))
            await until(lambda: [line for line in logs if "redis is full" in line["event"]])
            before = await commands(redis)
            await asyncio.sleep(0.5)
            assert await commands(redis) - before < 30  # it does not ask again and again
            await redis.config_set("maxmemory", "100mb")
            await until(ended(queue, job))
        said = [line["event"] for line in logs if "redis" in line["event"]]
        assert [event.partition(":")[0] for event in said] == ["redis is full", "redis has room again"]
        await assert_undisturbed(queue, job, toy)
        await shift.stop()


def waits_for_work(redis: Redis) -> Callable[[], Any]:
    async def does_it() -> bool:
        return int((await redis.info("clients"))["blocked_clients"]) == 2

    return does_it


def ended_by(redis: Redis, job_id: str) -> Callable[[], Any]:
    async def has_it() -> bool:
        return (await queues_on(redis).clients.get(job_id)).state is JobState.SUCCEEDED

    return has_it


def done(queue: Queues, job_id: str, samples: int) -> Callable[[], Any]:
    async def are_they() -> bool:
        return (await queue.clients.get(job_id)).done == samples

    return are_they


async def commands(redis: Redis) -> int:
    return int((await redis.info("stats"))["total_commands_processed"])
