"""Workers die between any two calls to Redis; lines to Redis are slow, break or fall silent: every byte is right."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import Unavailable
from smalti.jobs.connection import connect
from smalti.jobs.job import Job
from tests.conftest import Until
from tests.line import Line
from tests.queues import Queues, queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import take_lease_away
from tests.worker.conftest import Hire, Model
from tests.worker.story import Shift, a_request, assert_undisturbed, ended


class Died(BaseException):
    """The process is gone."""


class Deadly:
    """A Redis whose caller dies at one of its script calls, before Redis runs it or before the reply comes."""

    def __init__(self, redis: Redis, *, at: int, is_run: bool) -> None:
        self._redis, self._at, self._is_run = redis, at, is_run
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._redis, name)
        return self._counted(found) if name in ("evalsha", "eval") else found

    def _counted(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def run(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls > self._at:
                raise Died  # other tasks of the process do not go on either
            if self.calls == self._at and not self._is_run:
                raise Died
            reply = await call(*arguments)
            if self.calls >= self._at:
                raise Died
            return reply

        return run


@pytest.mark.parametrize("is_run", [False, True], ids=["before the call", "before the reply"])
async def test_a_worker_that_dies_at_any_call_loses_nothing(
    redis: Redis, hire: Hire, toy: Model, until: Until, is_run: bool
) -> None:
    manifest, _ = toy
    queue = queues_on(redis)
    for call in count(1):
        await redis.flushall()
        deadly = Deadly(redis, at=call, is_run=is_run)
        job = await queue.clients.submit(a_request(manifest, count=3))
        shift = hire(queues_on(deadly), toy, slots=2)  # type: ignore[arg-type]  # it behaves like a Redis
        shift.gate.open()
        if await _outlives(shift, queue, job, until):
            break
        await take_lease_away(queue, redis, shift.worker.name)
        heir = hire(queue, toy, slots=2)
        heir.gate.open()
        await until(ended(queue, job))
        await heir.stop()
        await assert_undisturbed(queue, job, toy)
        await audit_pool(redis)
        assert await queue.upkeep.audit(every_seconds=0) == {}
    assert call > 5, "so few calls are no sweep"


async def _outlives(shift: Shift, queue: Queues, job: Job, until: Until) -> bool:
    """Whether the job ended while its worker lived."""
    is_over = ended(queue, job)

    async def either() -> bool:
        return shift.task.done() or await is_over()

    await until(either)
    if shift.task.done():
        with suppress(BaseExceptionGroup, Died):
            await shift.task
        return False
    with suppress(BaseExceptionGroup, Died):
        await shift.stop()
    return True


@asynccontextmanager
async def behind(server: PrivateRedis, **options: Any) -> AsyncIterator[tuple[Line, Queues]]:
    """A queue whose Redis is at the other end of a line."""
    with Line(f"127.0.0.1:{server.port}", **options) as line:
        async with connect(f"redis://{line.address}/0") as redis:
            yield line, queues_on(redis, lease_seconds=5.0)


class Recoveries:
    """Looks for silent workers, over a line of its own, while a test goes on."""

    def __init__(self, queue: Queues) -> None:
        self._queue = queue
        self.samples = 0

    async def __aenter__(self) -> "Recoveries":
        self._task = asyncio.create_task(self._recover())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _recover(self) -> None:
        while True:
            with suppress(Unavailable):
                self.samples += await self._queue.upkeep.recover()
            await asyncio.sleep(0.2)


def ended_though_redis_is_away(queue: Queues, job: Job) -> Callable[[], Any]:
    is_over = ended(queue, job)

    async def is_it() -> bool:
        with suppress(Unavailable):
            return bool(await is_over())
        return False

    return is_it


async def draw_over_it(
    near: Queues,
    far: Queues,
    hire: Hire,
    toy: Model,
    until: Until,
    disturb: Callable[[], None] = lambda: None,
) -> None:
    """A worker at the far end of a line draws a job; no sample is taken back, and every byte is right."""
    manifest, _ = toy
    async with Recoveries(near) as recoveries:
        job = await near.clients.submit(a_request(manifest, count=12))
        shift = hire(far, toy, slots=3, lease_seconds=5.0)
        shift.gate.permit(2)
        await until(lambda: shift.gate.rows == 2)
        disturb()
        shift.gate.open()
        await until(ended_though_redis_is_away(near, job), seconds=60)
        await shift.stop()
        assert recoveries.samples == 0
    await assert_undisturbed(near, job, toy)
    assert await near.upkeep.audit(every_seconds=0) == {}


@pytest.fixture
def near(redis: Redis) -> Queues:
    """The queue without a line between."""
    return queues_on(redis, lease_seconds=5.0)


async def test_replies_that_are_lost_after_the_call_change_nothing(
    redis_server: PrivateRedis, near: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    replies = count(1)
    async with behind(redis_server, loses_reply=lambda: next(replies) % 7 == 0) as (line, far):
        await draw_over_it(near, far, hire, toy, until)
    assert line.connections > 3  # it broke again and again


async def test_a_slow_line_that_breaks_now_and_then_costs_no_sample(
    redis_server: PrivateRedis, near: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    chance = random.Random(1)
    async with behind(redis_server, delay_seconds=0.1, loses_reply=lambda: chance.random() < 0.01) as (
        _,
        far,
    ):
        await draw_over_it(near, far, hire, toy, until)


async def test_a_line_that_falls_silent_is_noticed_and_left(
    redis_server: PrivateRedis,
    near: Queues,
    hire: Hire,
    toy: Model,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smalti.jobs.connection._ANSWER_SECONDS", 0.5)  # instead of 2 s
    monkeypatch.setattr("smalti.jobs.store.BLOCK_SECONDS", 0.1)
    async with behind(redis_server) as (line, far):
        await draw_over_it(near, far, hire, toy, until, disturb=line.freeze)


async def test_a_script_of_somebody_else_that_blocks_redis_costs_no_sample(
    own_redis: PrivateRedis, hire: Hire, toy: Model, until: Until
) -> None:
    blocking = "local t = redis.call('TIME')[1] + 2 while redis.call('TIME')[1] < tostring(t) do end"
    async with connect(own_redis.url) as redis, Redis(port=own_redis.port) as other:
        await other.config_set("lua-time-limit", 1)  # after that, Redis answers others BUSY
        queue, blocked = queues_on(redis, lease_seconds=5.0), list[asyncio.Future[Any]]()

        def block() -> None:
            blocked.append(asyncio.ensure_future(other.eval(blocking, 0)))

        await draw_over_it(queue, queue, hire, toy, until, disturb=block)
        await asyncio.gather(*blocked)
