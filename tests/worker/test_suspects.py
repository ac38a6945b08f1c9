"""A sample that kills its workers fails, and no other sample does; kills from outside do not fail samples.

A worker that dies is a task that ends without giving anything back: here its engine raises, or the task is cancelled.
"""

import asyncio
import random
from collections.abc import Sequence

import numpy as np
import pytest
from redis.asyncio import Redis

from smalti.errors import SampleFailed, Unavailable
from smalti.jobs.job import CommitReply, Job, JobClass, JobState, Progress
from smalti.randomness import uniforms
from smalti.runtime.manifest import Manifest
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.smalti.jobs.story import take_lease_away
from tests.toy_model import Toy, write_toy_model
from tests.worker.conftest import Hire, Model
from tests.worker.story import (
    FINGERPRINT,
    Shift,
    a_request,
    assert_undisturbed,
    drawn_alone,
    ended,
    holding,
    open_runner,
    results,
)
from worker.runner import Runner
from worker.sample import Lane, Row

SLOTS, SEED, TALL = 64, 7, 20
LEASE_SECONDS = 0.1


class Died(BaseException):
    """The process is gone."""


class Deadly(Runner):
    """A runner whose process dies of one row of one sample."""

    def __init__(self, runner: Runner, manifest: Manifest, *, index: int, row: int) -> None:
        super().__init__(runner._session, manifest, slots=SLOTS)
        pixels = manifest.height * manifest.width
        self._deadly = uniforms(SEED, index, 0, pixels).reshape(manifest.height, -1)[row]
        self._row, self._index = row, index

    def draw_row(self, lanes: Sequence[Lane]) -> Sequence[Row | SampleFailed]:
        if any(lane.row == self._row and np.array_equal(lane.uniform, self._deadly) for lane in lanes):
            raise Died
        return super().draw_row(lanes)

    def apart(self) -> "Deadly":
        return Deadly(self, self._manifest, index=self._index, row=self._row)


@pytest.fixture
def tall(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A toy with as many rows as a sprite."""
    root = tmp_path_factory.mktemp("tall")
    write_toy_model(root, Toy(height=TALL))
    return open_runner(root, "toy-pixel-rnn", slots=SLOTS)


@pytest.fixture
def impatient(redis: Redis) -> Queues:
    """An empty queue with short leases."""
    return queues_on(redis, lease_seconds=LEASE_SECONDS)


async def die(shift: Shift) -> None:
    """What a SIGKILL leaves: nothing is handed back."""
    shift.task.cancel()
    shift.gate.open()
    await asyncio.gather(shift.task, return_exceptions=True)


@pytest.mark.parametrize("row", [0, 1, 10, 19])
async def test_a_sample_that_kills_its_workers_fails_alone(
    impatient: Queues, hire: Hire, tall: Model, row: int
) -> None:
    manifest, runner = tall
    job = await impatient.clients.submit(a_request(manifest, count=64, seed=SEED))
    deaths = 0
    while (await impatient.clients.get(job.id)).state is not JobState.FAILED:
        deadly = Deadly(runner, manifest, index=23, row=row)
        shift = hire(impatient, (manifest, deadly), slots=SLOTS, lease_seconds=LEASE_SECONDS)
        shift.gate.open()
        deaths += await _until_dead_or_done(impatient, shift, job)
    now = await impatient.clients.get(job.id)
    assert (now.done, now.failed) == (63, 1)
    assert deaths <= 7
    alone = Runner(runner._session, manifest, slots=1)
    for result in await results(impatient, job):
        if result.index == 23:
            assert "3 workers in a row fell silent" in result.error
        else:
            assert result.pixels == drawn_alone(alone, manifest, result.index)[0]


async def _until_dead_or_done(queue: Queues, shift: Shift, job: Job) -> bool:
    """Recover samples until the worker died (True) or the job has ended (False)."""
    while not shift.task.done() and (await queue.clients.get(job.id)).state is not JobState.FAILED:
        await queue.upkeep.recover()
        await asyncio.sleep(0.01)
    if not shift.task.done():
        await shift.stop()
        return False
    while (await queue.upkeep.depth()).workers:
        await queue.upkeep.recover()
        await asyncio.sleep(0.01)
    return True


async def test_a_suspect_is_drawn_alone_with_the_same_bytes(
    queue: Queues, redis: Redis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, runner = toy
    job = await queue.clients.submit(a_request(manifest, count=3))
    dead = hire(queue, toy, slots=2)  # given a worker that died with two samples before their first row
    await until(holding(queue, 2))
    await die(dead)
    await queue.upkeep.recover()
    await redis.zadd("smalti:{default}:workers", {dead.worker.name: 1})
    await queue.upkeep.recover()
    ticks: list[int] = []
    watched = Watched(runner, manifest, ticks)
    hire(queue, (manifest, watched)).gate.open()
    await until(ended(queue, job))
    assert ticks.count(-1) == 2  # then each of the two is drawn alone until it has its new row
    await assert_undisturbed(queue, job, toy)


class Watched(Runner):
    """Notes the size of every tick, −1 for one that is drawn apart."""

    def __init__(
        self, runner: Runner, manifest: Manifest, ticks: list[int], *, is_apart: bool = False
    ) -> None:
        super().__init__(runner._session, manifest, slots=SLOTS)
        self._ticks, self._is_apart = ticks, is_apart

    def draw_row(self, lanes: Sequence[Lane]) -> Sequence[Row | SampleFailed]:
        assert len(lanes) == 1 or not self._is_apart
        self._ticks.append(-1 if self._is_apart else len(lanes))
        return super().draw_row(lanes)

    def apart(self) -> "Watched":
        return Watched(self, self._manifest, self._ticks, is_apart=True)


async def test_a_suspect_goes_on_after_an_outage_of_redis_without_any_other_event(
    redis: Redis, hire: Hire, toy: Model, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = toy
    queue = queues_on(redis, lease_seconds=1.0)
    job = await queue.clients.submit(a_request(manifest, count=1))
    await queue.workers.claim("dead", sequence=0, digests=[manifest.digest], fingerprint=FINGERPRINT, limit=1)
    await take_lease_away(queue, redis, "dead")
    commit, failures = queue.workers.commit, iter([True] * 4)

    async def fail_at_first(worker: str, progress: Sequence[Progress]) -> list[CommitReply]:
        if any(part.place and part.place.is_begun for part in progress) and next(failures, False):
            raise Unavailable("for a moment")
        return await commit(worker, progress)

    monkeypatch.setattr(queue.workers, "commit", fail_at_first)
    hire(queue, toy, slots=1, lease_seconds=1.0).gate.open()
    await until(holding(queue, 1))
    waiting = await queue.clients.submit(a_request(manifest, count=1, job_class=JobClass.INTERACTIVE))
    await until(ended(queue, job))  # then it does not wait for ever for a call that nobody makes
    await until(ended(queue, waiting))


async def test_a_standard_sample_makes_way_for_an_interactive_suspect(
    queue: Queues, redis: Redis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    interactive = await queue.clients.submit(a_request(manifest, count=1, job_class=JobClass.INTERACTIVE))
    await queue.workers.claim("dead", sequence=0, digests=[manifest.digest], fingerprint=FINGERPRINT, limit=1)
    await queue.clients.submit(a_request(manifest, count=9))
    shift = hire(queue, toy, slots=2)  # given a worker that is full of standard samples
    await until(holding(queue, 3))
    await take_lease_away(queue, redis, "dead")
    shift.gate.permit(3)  # then one of them makes way, long before it is drawn to its end
    await until(ended(queue, interactive, JobState.RUNNING))
    await until(lambda: shift.worker._memberships[0].parts.scheduler.suspect)
    shift.gate.open()
    await until(ended(queue, interactive))


@pytest.mark.slow
async def test_sixty_random_kills_fail_no_sample(
    impatient: Queues, hire: Hire, tall: Model, until: Until
) -> None:
    manifest, _ = tall
    chance = random.Random(5)
    job = await impatient.clients.submit(a_request(manifest, count=400, seed=SEED))

    def hired() -> Shift:
        return hire(impatient, tall, slots=32, lease_seconds=LEASE_SECONDS)

    shifts = [hired() for _ in range(3)]
    for _ in range(60):
        for shift in shifts:
            shift.gate.permit(chance.randint(1, 12))
        await asyncio.sleep(chance.random() / 20)  # a random moment to die
        await impatient.upkeep.recover()
        victim = chance.randrange(3)
        await die(shifts[victim])
        shifts[victim] = hired()
    for shift in shifts:
        shift.gate.open()

    async def over() -> bool:
        await impatient.upkeep.recover()
        return (await impatient.clients.get(job.id)).state in {JobState.SUCCEEDED, JobState.FAILED}

    await until(over, seconds=60)
    now = await impatient.clients.get(job.id)
    assert (now.state, now.done, now.failed) == (JobState.SUCCEEDED, 400, 0)
