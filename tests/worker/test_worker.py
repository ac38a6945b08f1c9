"""A worker on a real Redis draws what the queue hands out, and loses nothing, whatever happens around it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.errors import Unavailable
from smalti.jobs.administration import QueueAdministration
from smalti.jobs.connection import connect
from smalti.jobs.job import CommitReply, Job, JobState, Progress
from smalti.jobs.reading import NO_WORKER
from smalti.jobs.store import QueueStore
from smalti.jobs.workers import WorkerQueue
from smalti.runtime.metrics import CORRUPT_COMMITS, FENCED_WRITES, JOB_SECONDS, TIME_TO_FIRST_ROW_SECONDS
from smalti.runtime.repository import ModelRepository
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.toy_model import Toy, write_toy_model
from tests.worker.conftest import Hire, Model
from tests.worker.story import (
    FINGERPRINT,
    a_request,
    assert_undisturbed,
    drawn_alone,
    ended,
    holding,
    keeping,
    open_runner,
    results,
)
from worker.engine import Engine
from worker.lease import EngineHung, Lease
from worker.worker import Worker


async def test_a_job_is_drawn_to_its_end(queue: Queues, hire: Hire, model: Model, until: Until) -> None:
    manifest, _ = model
    hire(queue, model).gate.open()
    job = await queue.clients.submit(a_request(manifest, count=11))
    await until(ended(queue, job))
    assert (await queue.clients.get(job.id)).done == 11
    assert {result.fingerprint for result in await results(queue, job)} == {FINGERPRINT}
    await assert_undisturbed(queue, job, model)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_worker_whose_clock_is_an_hour_off_draws_as_any_other(
    queue: Queues, hire: Hire, toy: Model, until: Until, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + hours * 3600)
    hire(queue, toy, lease_seconds=0.5).gate.open()
    job = await queue.clients.submit(a_request(toy[0], count=11))
    await until(ended(queue, job))
    await queue.upkeep.recover()
    assert (await queue.clients.get(job.id)).state is JobState.SUCCEEDED
    await assert_undisturbed(queue, job, toy)


async def test_jobs_share_the_slots_and_do_not_touch_each_other(
    queue: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    kept = keeping(manifest, {(0, 0): 2, (3, 3): 4})
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"seed": 2, "kept": kept},
        {"seed": 3, "temperature": 0.5},
    ]
    jobs = [await queue.clients.submit(a_request(manifest, count=5, **change)) for change in changes]
    hire(queue, toy, slots=3).gate.open()
    for job, change in zip(jobs, changes, strict=True):
        await until(ended(queue, job))
        await assert_undisturbed(queue, job, toy, **change)


async def test_several_models_take_turns_in_one_worker(
    queue: Queues, hire: Hire, toy: Model, tmp_path: Path, until: Until
) -> None:
    write_toy_model(tmp_path / "wide", Toy(name="wide", width=9, height=3))
    wide = open_runner(tmp_path / "wide", "wide")
    jobs = [(await queue.clients.submit(a_request(model[0], count=6)), model) for model in (toy, wide)]
    hire(queue, toy, wide).gate.open()
    for job, model in jobs:
        await until(ended(queue, job))
        await assert_undisturbed(queue, job, model)


async def test_rows_are_visible_before_the_sample_is_finished(
    queue: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, runner = toy
    shift = hire(queue, toy)
    job = await queue.clients.submit(a_request(manifest, count=1))
    shift.gate.permit(2)

    async def two_rows() -> bool:
        return [len(rows.pixels) for rows in await queue.watchers.rows(job, {})] == [2 * manifest.width]

    await until(two_rows)
    [rows] = await queue.watchers.rows(job, {})
    assert rows.pixels == drawn_alone(runner, manifest, 0)[0][: 2 * manifest.width]


async def test_the_queue_knows_which_models_an_idle_worker_has(
    queue: Queues, hire: Hire, toy: Model, redis: Redis, until: Until
) -> None:
    manifest, _ = toy
    impatient = queues_on(redis, lease_seconds=0.2)
    hire(impatient, toy, lease_seconds=0.2)
    other = await queue.clients.submit(a_request(manifest, digest="f" * 64))
    assert (await queue.clients.get(other.id)).reason == NO_WORKER

    async def workers() -> int:
        await impatient.upkeep.recover()
        return (await impatient.upkeep.depth()).workers

    await until(workers)
    for _ in range(20):  # given several leases without work
        await asyncio.sleep(0.03)
        assert await workers() == 1


async def test_a_cancelled_job_frees_its_slots_for_the_next_job(
    queue: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    shift = hire(queue, toy, slots=2)
    cancelled = await queue.clients.submit(a_request(manifest, count=50))
    shift.gate.permit(1)
    await until(lambda: shift.gate.rows == 1)
    await queue.clients.cancel(cancelled.id)
    job = await queue.clients.submit(a_request(manifest, count=2))
    shift.gate.open()
    await until(ended(queue, cancelled, JobState.CANCELLED))
    await until(ended(queue, job))
    await assert_undisturbed(queue, job, toy)
    assert (await queue.clients.get(cancelled.id)).done < 50


async def test_a_sample_whose_values_become_nan_fails_alone_with_a_reason(
    queue: Queues, hire: Hire, tmp_path: Path, until: Until
) -> None:
    write_toy_model(tmp_path, Toy(poison=6))
    model = open_runner(tmp_path, "toy-pixel-rnn")
    manifest, _ = model
    healthy = await queue.clients.submit(a_request(manifest, count=6))
    poisoned = await queue.clients.submit(a_request(manifest, count=1, kept=keeping(manifest, {(1, 1): 6})))
    later = await queue.clients.submit(a_request(manifest, count=6, seed=8))
    hire(queue, model, slots=3).gate.open()
    await until(ended(queue, poisoned, JobState.FAILED))
    [failed] = await results(queue, poisoned)
    assert "are not numbers" in failed.error
    await until(ended(queue, healthy))
    await until(ended(queue, later))
    await assert_undisturbed(queue, healthy, model)
    await assert_undisturbed(queue, later, model, seed=8)


async def test_a_sample_that_the_model_cannot_draw_fails_at_once(
    queue: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    shift = hire(queue, toy)  # given a worker that draws nothing at all
    job = await queue.clients.submit(a_request(manifest, count=1, temperature=0.0))
    await until(ended(queue, job, JobState.FAILED))
    assert "temperature 0.0 is not between" in (await results(queue, job))[0].error
    assert shift.gate.rows == 0


async def test_samples_of_a_lost_lease_are_dropped_and_drawn_again(
    redis: Redis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    queue = queues_on(redis, lease_seconds=0.2)
    shift = hire(queue, toy, lease_seconds=60.0)  # given a worker that renews too seldom
    job = await queue.clients.submit(a_request(manifest, count=4))
    shift.gate.permit(3)
    await until(lambda: shift.gate.rows == 3)

    async def recovered() -> int:
        return await queue.upkeep.recover()

    await until(recovered)
    fenced = FENCED_WRITES._value.get()
    shift.gate.open()
    await until(ended(queue, job))
    assert FENCED_WRITES._value.get() > fenced
    await assert_undisturbed(queue, job, toy)


async def test_a_worker_that_notices_its_lost_lease_drops_all_samples_and_claims_again(
    queue: Queues, redis: Redis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    shift = hire(queue, toy, lease_seconds=1.0)
    job = await queue.clients.submit(a_request(manifest, count=4))
    await until(holding(queue, 4))
    await queue.upkeep.recover()

    async def lost() -> bool:
        """Given a lease that is over, unless the worker renews it just then."""
        await redis.zadd("smalti:{default}:workers", {shift.worker.name: 1})
        return await queue.upkeep.recover() == 4

    await until(lost)
    await until(holding(queue, 1))  # then it claims a suspect again, though no commit has told it
    shift.gate.open()
    await until(ended(queue, job))
    await assert_undisturbed(queue, job, toy)


async def test_rows_that_redis_lost_are_sent_again(
    queue: Queues, hire: Hire, toy: Model, redis: Redis, until: Until
) -> None:
    manifest, _ = toy
    shift = hire(queue, toy)
    job = await queue.clients.submit(a_request(manifest, count=1))
    shift.gate.permit(3)
    key = f"smalti:{{default}}:pixels:{job.id}:0"

    async def committed() -> bool:
        return bool(await redis.strlen(key) == 3 * manifest.width)

    await until(committed)
    await redis.set(key, await redis.getrange(key, 0, manifest.width - 1))  # as a failover might
    shift.gate.open()
    await until(ended(queue, job))
    await assert_undisturbed(queue, job, toy)


async def test_rows_that_contradict_committed_ones_fail_the_job_and_are_counted(
    queue: Queues, hire: Hire, toy: Model, redis: Redis, until: Until
) -> None:
    manifest, _ = toy
    shift = hire(queue, toy)
    job = await queue.clients.submit(a_request(manifest, count=1))
    shift.gate.permit(1)
    key = f"smalti:{{default}}:pixels:{job.id}:0"

    async def committed() -> bool:
        return bool(await redis.strlen(key) == manifest.width)

    await until(committed)
    corrupt = CORRUPT_COMMITS._value.get()
    await redis.append(key, b"\x63" * manifest.width)
    shift.gate.open()
    await until(ended(queue, job, JobState.FAILED))
    await until(lambda: CORRUPT_COMMITS._value.get() == corrupt + 1)


async def test_drawing_goes_on_while_redis_is_away(
    own_redis: PrivateRedis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis)
        shift = hire(queue, toy, slots=4)
        job = await queue.clients.submit(a_request(manifest, count=20))
        shift.gate.permit(2)
        await until(lambda: shift.gate.rows == 2)
        own_redis.kill()
        shift.gate.open()
        await until(lambda: shift.gate.rows == manifest.height)  # all that was claimed is drawn
        own_redis.start()
        await until(ended_after_outage(queue, job), seconds=30)
        await assert_undisturbed(queue, job, toy)
        await shift.stop()


def ended_after_outage(queue: Queues, job: Job) -> Callable[[], Any]:
    async def is_it() -> bool:
        try:
            return (await queue.clients.get(job.id)).state is JobState.SUCCEEDED
        except Unavailable:
            return False

    return is_it


class SlowToCommit(WorkerQueue):
    """A queue whose commits take as long as a test wants."""

    def __init__(self, store: QueueStore) -> None:
        super().__init__(store)
        self.answers = asyncio.Event()

    async def commit(self, worker: str, progress: Sequence[Progress]) -> list[CommitReply]:
        await self.answers.wait()
        return await super().commit(worker, progress)


async def test_slow_commits_do_not_let_drawn_samples_pile_up(
    redis: Redis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    queue = queues_on(redis)
    slow = SlowToCommit(queue.store)
    shift = hire(replace(queue, workers=slow), toy, slots=2)
    job = await queue.clients.submit(a_request(manifest, count=50))
    shift.gate.open()
    await until(lambda: shift.gate.rows >= 2 * manifest.height)  # the slots are filled twice
    with pytest.raises(AssertionError):
        await until(lambda: shift.gate.rows > 2 * manifest.height, seconds=0.3)  # and no third time
    assert (await queue.upkeep.depth()).running_samples == 2  # the other two have left their slots
    slow.answers.set()
    await until(ended(queue, job))


async def test_jobs_never_report_more_running_samples_than_there_are_slots(
    redis: Redis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    queue = queues_on(redis)
    slow = SlowToCommit(queue.store)
    shift = hire(replace(queue, workers=slow), toy, slots=2)
    for _ in range(2):
        await queue.clients.submit(a_request(manifest, count=20))

    async def running() -> list[int]:
        return [job.running for job in (await queue.clients.list(limit=2))[0]]  # both at one moment

    shift.gate.open()
    await until(lambda: shift.gate.rows >= 2 * manifest.height)  # then it holds two samples for each slot
    assert sum(await running()) == 2
    seen = []

    async def over() -> bool:
        seen.append(sum(await running()))
        return {job.state for job in (await queue.clients.list(limit=2))[0]} == {JobState.SUCCEEDED}

    slow.answers.set()
    await until(over)
    assert max(seen) <= 2
    assert await running() == [0, 0]


async def test_stopping_gives_back_every_sample_with_its_rows_and_without_a_crash(
    queue: Queues, hire: Hire, toy: Model, redis: Redis, until: Until
) -> None:
    manifest, _ = toy
    first = hire(queue, toy, slots=3)
    job = await queue.clients.submit(a_request(manifest, count=3))
    first.gate.permit(2)
    await until(lambda: first.gate.rows == 2)
    first.stopping.set()
    first.gate.permit(2)  # for the ticks that may be handed out already
    await first.task
    depth = await queue.upkeep.depth()
    assert (depth.ready_samples, depth.running_samples, depth.workers) == (3, 0, 0)
    for index in range(3):
        rows = await redis.strlen(f"smalti:{{default}}:pixels:{job.id}:{index}") / manifest.width
        assert rows in (3, 4)  # every row that was drawn
        assert await redis.hget(f"smalti:{{default}}:sample:{job.id}:{index}", "crashes") in (None, b"0")
    hire(queue, toy, slots=2).gate.open()  # when another worker comes
    await until(ended(queue, job))
    await assert_undisturbed(queue, job, toy)


async def test_stopping_while_redis_is_away_takes_only_the_grace(
    own_redis: PrivateRedis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    async with connect(own_redis.url) as redis:
        queue = queues_on(redis)
        shift = hire(queue, toy, grace_seconds=0.5)
        await queue.clients.submit(a_request(manifest, count=4))
        shift.gate.permit(1)
        await until(lambda: shift.gate.rows == 1)
        own_redis.kill()
        shift.gate.open()
        started = asyncio.get_running_loop().time()
        await shift.stop()
        assert 0.4 < asyncio.get_running_loop().time() - started < 5.0


async def test_a_worker_with_a_hung_engine_loses_its_lease(
    redis: Redis, hire: Hire, toy: Model, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.lease._LEASES_UNTIL_HUNG", 1000.0)
    manifest, _ = toy
    queue = queues_on(redis, lease_seconds=0.2)
    stuck = hire(queue, toy, slots=2, lease_seconds=0.2)
    job = await queue.clients.submit(a_request(manifest, count=3))
    stuck.gate.permit(1)
    await until(lambda: stuck.gate.rows == 1)  # given an engine that hangs in its second tick
    await until(given_back(queue, 3))
    stuck.gate.open()  # when it goes on after all, its late rows are refused
    await until(ended(queue, job))
    await assert_undisturbed(queue, job, toy)


async def test_a_worker_whose_engine_hangs_gives_up_and_others_go_on(
    redis: Redis, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    queue = queues_on(redis, lease_seconds=0.2)
    stuck = hire(queue, toy, lease_seconds=0.2)
    job = await queue.clients.submit(a_request(manifest, count=2))
    stuck.gate.permit(1)
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(stuck.task, 10)
    assert raised.group_contains(EngineHung, match="gives up its samples and stops")
    await until(given_back(queue, 2))
    hire(queue, toy).gate.open()
    await until(ended(queue, job))
    await assert_undisturbed(queue, job, toy)


def given_back(queue: Queues, samples: int) -> Callable[[], Any]:
    async def are_they() -> bool:
        await queue.upkeep.recover()
        depth = await queue.upkeep.depth()
        return (depth.ready_samples, depth.workers) == (samples, 0)

    return are_they


async def test_a_model_that_is_added_to_the_repository_is_drawn(
    queue: Queues, toy_repository: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr("worker.worker.LOOK_SECONDS", 0.05)
    engine = Engine(ModelRepository(toy_repository), slots=2)
    await engine.load()
    stopping = asyncio.Event()
    worker = Worker([queue.workers], engine, slots=2, fingerprint=FINGERPRINT, lease_seconds=10.0)
    task = asyncio.create_task(worker.run(stopping))
    manifest = write_toy_model(toy_repository, Toy(name="newcomer"))
    job = await queue.clients.submit(a_request(manifest, count=3))
    await until(ended(queue, job))
    stopping.set()
    await task
    engine.close()


async def test_times_to_the_first_row_and_to_the_end_of_each_job_are_measured(
    queue: Queues, hire: Hire, tmp_path: Path, until: Until
) -> None:
    write_toy_model(tmp_path, Toy(name="measured"))
    model = open_runner(tmp_path, "measured")
    jobs = [await queue.clients.submit(a_request(model[0], count=5)) for _ in range(2)]
    hire(queue, model, slots=2).gate.open()
    for job in jobs:
        await until(ended(queue, job))
    for histogram in (TIME_TO_FIRST_ROW_SECONDS, JOB_SECONDS):
        await until(lambda histogram=histogram: _count(histogram, "measured") == 2)


def _count(histogram: Any, model: str) -> float:
    return next(
        float(sample.value)
        for metric in histogram.collect()
        for sample in metric.samples
        if sample.name.endswith("_count") and sample.labels == {"model": model}
    )


async def test_a_drained_worker_gives_its_samples_back_and_ends(
    redis: Redis, hire: Hire, toy: Model, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.draining._LOOK_SECONDS", 0.01)
    manifest, _ = toy
    queue = queues_on(redis)
    leaving = hire(queue, toy, slots=2)
    job = await queue.clients.submit(a_request(manifest, count=3))
    leaving.gate.permit(2)
    await until(lambda: leaving.gate.rows == 2)
    await QueueAdministration(queue.store, queue.all_clients).drain(leaving.worker.name)
    await until(leaving.stopping.is_set)
    leaving.gate.open()
    await leaving.task
    assert (await queue.upkeep.depth()).workers == 0
    hire(queue, toy).gate.open()
    await until(ended(queue, job))
    await assert_undisturbed(queue, job, toy)


async def test_a_worker_that_cannot_keep_its_lease_any_more_ends_and_others_go_on(
    redis: Redis, hire: Hire, toy: Model, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = toy
    queue = queues_on(redis, lease_seconds=0.2)
    broken = hire(queue, toy, lease_seconds=0.2)

    async def fail(self: Lease, held: object) -> None:
        raise RuntimeError("a bug in what keeps the lease")

    monkeypatch.setattr(Lease, "_renew", fail)
    job = await queue.clients.submit(a_request(manifest, count=2))
    with pytest.raises(ExceptionGroup) as raised:  # it does not draw on in silence
        await asyncio.wait_for(broken.task, 10)
    assert raised.group_contains(RuntimeError, match="a bug in what keeps the lease")
    monkeypatch.undo()
    await until(given_back(queue, 2))
    hire(queue, toy).gate.open()
    await until(ended(queue, job))
    await assert_undisturbed(queue, job, toy)
