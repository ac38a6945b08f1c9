"""Somebody changes the queue by hand: the audit repairs and counts it. It leaves a queue that is well alone."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from smalti.jobs.housekeeping import Housekeeping
from smalti.jobs.job import TERMINAL, Failed, Finished, Job
from smalti.jobs.keys import Keys
from smalti.runtime.metrics import REPAIRS
from tests.conftest import Until
from tests.queues import Queues
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.story import (
    COLUMNS,
    ROWS,
    claim_from,
    drawn,
    finished,
    request_for,
    take_lease_away,
)

KEYS = Keys("default")
PREFIX = KEYS.prefix


@dataclass(frozen=True)
class Scene:
    """A queue with a sample in every place."""

    redis: Any  # redis-py's types cannot say that this client answers in bytes
    waiting: Job  # queued, three fresh samples
    job: Job  # samples: 0 suspect, 1 done, 2 failed, 3 returned with two rows, 4 and 5 held by berta, 6 to 9 fresh
    ended: Job  # one sample, with a result
    cancelling: Job  # clara holds one of its two samples

    @property
    def record(self) -> str:
        return KEYS.job(self.job.id)

    @property
    def result(self) -> str:
        return KEYS.result(self.job.id, 0)

    def of(self, kind: str) -> str:
        return f"{PREFIX}{kind}:{self.job.id}"

    def sample(self, index: int) -> str:
        return f"{self.job.id}:{index}"


@pytest.fixture
async def scene(queue: Queues, redis: Redis) -> Scene:
    """A queue in the middle of its work."""
    ended = await queue.clients.submit(request_for(), request_id="ended")
    await queue.workers.commit("anna", [finished(claim) for claim in await claim_from(queue)])
    cancelling = await queue.clients.submit(request_for(count=2))
    await claim_from(queue, "clara")
    await queue.clients.cancel(cancelling.id)
    job = await queue.clients.submit(request_for(count=10))
    await claim_from(queue, "dora")
    await take_lease_away(queue, redis, "dora")
    _, one, two, three = await claim_from(queue, "anna", limit=4)
    await claim_from(queue, "berta", limit=2)
    await queue.workers.commit(
        "anna", [drawn(one, 0, ROWS, Finished(-1.0)), drawn(two, 0, 0, Failed("no")), drawn(three, 0, 2)]
    )
    await take_lease_away(queue, redis, "anna")
    waiting = await queue.clients.submit(request_for(count=3))
    scene = Scene(redis, waiting, job, ended, cancelling)
    assert await redis.zrange(scene.of("suspects"), 0, -1) == [b"0"]
    assert await redis.zrange(scene.of("returned"), 0, -1) == [b"3"]
    assert await redis.smembers(scene.of("running")) == {b"4", b"5"}
    return scene


async def test_a_queue_that_is_well_is_left_alone(scene: Scene, queue: Queues) -> None:
    assert await queue.upkeep.audit(every_seconds=0) == {}


Forgery = Callable[[Scene], Awaitable[Any]]


def forgery(what: str, forge: Forgery, *, kinds: str) -> Any:
    return pytest.param(forge, kinds.split(), id=what)


def _held(s: Scene, worker: str, sample: str, token: str) -> Any:
    return s.redis.zadd(f"{PREFIX}held:{worker}", {sample: token})


def _let_go(s: Scene, sample: int) -> Any:
    return s.redis.zrem(PREFIX + "held:berta", s.sample(sample))


async def _unended(scene: Scene) -> None:
    await scene.redis.hset(KEYS.job(scene.ended.id), "state", "RUNNING")
    await scene.redis.hdel(KEYS.job(scene.ended.id), "ended", "expires")
    await scene.redis.delete(PREFIX + "expiry")
    for key in (KEYS.job(scene.ended.id), KEYS.result(scene.ended.id, 0), KEYS.ended(scene.ended.id)):
        await scene.redis.persist(key)


FORGERIES = [
    # each sample is in one place
    forgery("running without an owner", lambda s: _let_go(s, 4), kinds="unowned"),
    forgery(
        "an owner without a lease",
        lambda s: s.redis.zrem(PREFIX + "workers", "berta"),
        kinds="owners unowned",
    ),
    forgery("an owner without a run", lambda s: s.redis.srem(s.of("running"), 4), kinds="places"),
    forgery("an owner of a sample that ended", lambda s: _held(s, "berta", s.sample(1), "9"), kinds="places"),
    forgery("an owner of a sample of no job", lambda s: _held(s, "berta", "gone:1", "9"), kinds="owners"),
    forgery("two owners", lambda s: _held(s, "clara", s.sample(4), "9"), kinds="owners"),
    forgery("a newer owner", lambda s: _held(s, "clara", s.sample(4), "9" * 15), kinds="owners"),
    forgery("returned and running", lambda s: s.redis.zadd(s.of("returned"), {"4": 0}), kinds="places"),
    forgery("returned and done", lambda s: s.redis.zadd(s.of("returned"), {"1": 0}), kinds="places"),
    forgery("returned and suspect", lambda s: s.redis.zadd(s.of("suspects"), {"3": 0}), kinds="places"),
    forgery("running and done", lambda s: s.redis.sadd(s.of("running"), "1"), kinds="places"),
    forgery("running and fresh", lambda s: s.redis.sadd(s.of("running"), "7"), kinds="places"),
    forgery("returned and fresh", lambda s: s.redis.zadd(s.of("returned"), {"7": 0}), kinds="counts lost"),
    forgery("in no place", lambda s: s.redis.zrem(s.of("returned"), 3), kinds="lost"),
    forgery(
        "none is in its place", lambda s: s.redis.delete(s.of("suspects"), s.of("returned")), kinds="lost"
    ),
    forgery(
        "waiting in a job being cancelled",
        lambda s: s.redis.zadd(f"{PREFIX}returned:{s.cancelling.id}", {"1": 0}),
        kinds="places",
    ),
    # a job's numbers, results and state
    forgery("too many are done", lambda s: s.redis.hincrby(s.record, "done", 1), kinds="results"),
    forgery("too few are done", lambda s: s.redis.hset(s.record, "done", 0), kinds="results"),
    forgery("failed is wrong", lambda s: s.redis.hset(s.record, "failed", 3), kinds="results"),
    forgery("a result is gone", lambda s: s.redis.hdel(s.result, "1"), kinds="results lost"),
    forgery(
        "a result nobody drew",
        lambda s: s.redis.hset(s.result, "8", b"+1\n0\ncpu\nx"),
        kinds="results counts lost",
    ),
    forgery("no order of ends", lambda s: s.redis.delete(s.of("ended")), kinds="results"),
    forgery("ends of others", lambda s: s.redis.append(s.of("ended"), b"\0\0\0\x09rest"), kinds="results"),
    forgery("the cursor is behind", lambda s: s.redis.hset(s.record, "next", 5), kinds="counts"),
    forgery("the cursor is before", lambda s: s.redis.hset(s.record, "next", 8), kinds="lost"),
    forgery("the cursor is outside", lambda s: s.redis.hset(s.record, "next", 99), kinds="counts lost"),
    forgery("some count as cancelled", lambda s: s.redis.hset(s.record, "cancelled", 2), kinds="counts"),
    forgery(
        "none counts as cancelled",
        lambda s: s.redis.hset(KEYS.job(s.cancelling.id), "cancelled", 0),
        kinds="counts",
    ),
    forgery(
        "queued, though it has begun", lambda s: s.redis.hset(s.record, "state", "QUEUED"), kinds="state"
    ),
    forgery("ended too early", lambda s: s.redis.hset(s.record, "state", "SUCCEEDED"), kinds="state"),
    forgery("not ended", _unended, kinds="state ttl"),
    # lists, keys, pixels, TTLs
    forgery("not claimable", lambda s: s.redis.delete(PREFIX + "ready:digest-a:standard:"), kinds="lists"),
    forgery(
        "claimable, though it has ended",
        lambda s: s.redis.zadd(PREFIX + "ready:digest-a:standard:", {s.ended.id: 0}),
        kinds="lists",
    ),
    forgery("not queued", lambda s: s.redis.delete(PREFIX + "queued"), kinds="lists"),
    forgery("not listed", lambda s: s.redis.zrem(PREFIX + "jobs", s.job.id), kinds="lists"),
    forgery(
        "a job that is gone in a list", lambda s: s.redis.zadd(PREFIX + "jobs:", {"gone": 5}), kinds="strays"
    ),
    forgery(
        "a job that is gone, to be forgotten",
        lambda s: s.redis.zadd(PREFIX + "expiry", {"gone anne": 5}),
        kinds="strays",
    ),
    forgery(
        "a deadline that no job has",
        lambda s: s.redis.zadd(PREFIX + "deadlines", {s.job.id: 5}),
        kinds="lists",
    ),
    forgery(
        "a deadline that nobody looks at",
        lambda s: s.redis.hset(s.record, "deadline", "9" * 13),
        kinds="lists",
    ),
    forgery("never expiring", lambda s: s.redis.delete(PREFIX + "expiry"), kinds="lists"),
    forgery("a record without a TTL", lambda s: s.redis.persist(KEYS.job(s.ended.id)), kinds="ttl"),
    forgery("results without a TTL", lambda s: s.redis.persist(KEYS.result(s.ended.id, 0)), kinds="ttl"),
    forgery("a running job with a TTL", lambda s: s.redis.expire(s.record, 100), kinds="ttl"),
    forgery("half a row", lambda s: s.redis.append(KEYS.pixels(s.job.id, 3), b"x"), kinds="pixels"),
    forgery(
        "too many rows",
        lambda s: s.redis.set(KEYS.pixels(s.job.id, 3), bytes(ROWS * COLUMNS + 9)),
        kinds="pixels",
    ),
    forgery(
        "rows of a sample that ended",
        lambda s: s.redis.set(KEYS.pixels(s.job.id, 1), b"abc"),
        kinds="leftovers",
    ),
    forgery("keys of no job", lambda s: s.redis.set(KEYS.pixels("gone", 1), b"abc"), kinds="strays"),
]


@pytest.mark.parametrize(("forge", "kinds"), FORGERIES)
async def test_what_somebody_changed_by_hand_is_repaired_and_counted(
    scene: Scene, queue: Queues, redis: Redis, forge: Forgery, kinds: list[str]
) -> None:
    await forge(scene)
    assert sorted(await queue.upkeep.audit(every_seconds=0)) == sorted(kinds)
    await redis.delete(KEYS.pixels("gone", 1))  # a key of no job has a TTL now
    await audit_pool(redis)
    assert await queue.upkeep.audit(every_seconds=0) == {}
    await _draw_all(queue, redis)


async def _draw_all(queue: Queues, redis: Redis) -> None:
    """Every job comes to its end, and no sample has bytes of another one."""
    for worker in ("anna", "berta", "clara"):
        await take_lease_away(queue, redis, worker)
    for turn in range(30):
        if claims := await claim_from(queue, f"worker-{turn}", limit=50):
            await queue.workers.commit(f"worker-{turn}", [finished(claim) for claim in claims])
    jobs, _ = await queue.clients.list(limit=9)
    assert {job.state for job in jobs} <= TERMINAL


async def test_one_process_audits_at_a_time(scene: Scene, queue: Queues, redis: Redis) -> None:
    await queue.upkeep.audit(every_seconds=0)
    await redis.hincrby(scene.record, "done", 1)
    assert await asyncio.gather(*(queue.upkeep.audit() for _ in range(5))) == [{}] * 5  # it is not time yet
    await redis.hdel(PREFIX + "meta", "audited")
    found = await asyncio.gather(*(queue.upkeep.audit() for _ in range(5)))
    assert sum(repairs["results"] for repairs in found) == 1


async def test_a_server_audits_in_the_background_and_counts_repairs(
    scene: Scene, queue: Queues, redis: Redis, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smalti.jobs.housekeeping._AUDIT_LOOK_SECONDS", 0.01)
    before, housekeeping = REPAIRS.labels("lost")._value.get(), Housekeeping(queue.upkeep)
    await housekeeping.look()
    auditing = asyncio.create_task(housekeeping.keep_auditing())
    await redis.zrem(scene.of("returned"), 3)
    await redis.hdel(PREFIX + "meta", "audited")  # as if the last audit were a minute ago
    await until(lambda: REPAIRS.labels("lost")._value.get() == before + 1)
    auditing.cancel()


async def test_an_audit_that_redis_refuses_is_logged_and_tried_again(
    scene: Scene, queue: Queues, redis: Redis, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smalti.jobs.housekeeping._AUDIT_LOOK_SECONDS", 0.01)
    housekeeping = Housekeeping(queue.upkeep)
    await housekeeping.look()
    foreign = PREFIX + "running:foreign"
    await redis.set(foreign, "a key of somebody else, where the queue has sets")
    with capture_logs() as logs:
        auditing = asyncio.create_task(housekeeping.keep_auditing())
        await until(lambda: [line for line in logs if "could not be audited" in line["event"]])
    assert foreign in next(line["reason"] for line in logs if "reason" in line)
    await redis.delete(foreign)
    await redis.hdel(PREFIX + "meta", "audited")
    auditing.cancel()
    assert await queue.upkeep.audit(every_seconds=0) == {}


async def test_audits_of_a_queue_at_work_repair_nothing(queue: Queues, redis: Redis) -> None:
    jobs = [await queue.clients.submit(request_for(count=60)) for _ in range(3)]
    repaired: Counter[str] = Counter()

    async def work(worker: str) -> None:
        while claims := await claim_from(queue, worker, limit=4):
            half = len(claims) // 2
            await queue.workers.commit(worker, [drawn(claim, 0, 1) for claim in claims if not claim.pixels])
            await queue.workers.commit(worker, [finished(claim) for claim in claims[:half]])
            await queue.workers.leave(worker) if half % 2 else await take_lease_away(queue, redis, worker)

    async def audit() -> None:
        while True:
            repaired.update(await queue.upkeep.audit(every_seconds=0))

    auditing = asyncio.create_task(audit())
    await asyncio.gather(
        *(work(worker) for worker in ("anna", "berta", "clara")), queue.clients.cancel(jobs[2].id)
    )
    auditing.cancel()
    assert repaired == {}
