"""A worker gives the samples of a paused job back after their rows, and draws others in their slots."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from smalti.jobs.job import Job, JobState, Released
from smalti.runtime.metrics import SAMPLES_MADE_WAY
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.toy_model import Toy, write_toy_model
from tests.worker.conftest import Hire, Model
from tests.worker.story import Shift, a_request, a_sample, assert_undisturbed, ended, open_runner
from worker.scheduler import Scheduler


@pytest.fixture
def queue(redis: Redis) -> Queues:
    return queues_on(redis)


@pytest.fixture
def tall(tmp_path: Path) -> Model:
    """A model with so many rows that a job is paused long before its samples are finished."""
    write_toy_model(tmp_path / "tall", Toy(name="tall", height=500))
    return open_runner(tmp_path / "tall", "tall")


async def pause_and_rest(queue: Queues, job: Job, shift: Shift, until: Until) -> None:
    """Pause the job, and let the worker draw until it holds nothing of it."""
    await queue.clients.pause(job.id)

    async def is_at_rest() -> bool:
        shift.gate.permit(1)
        return (await queue.clients.get(job.id)).running == 0

    await until(is_at_rest)


async def test_a_paused_job_frees_its_slots_and_goes_on_later_without_a_lost_row(
    queue: Queues, hire: Hire, tall: Model, redis: Redis, until: Until
) -> None:
    manifest, _ = tall
    before = SAMPLES_MADE_WAY.labels(manifest.name)._value.get()
    shift = hire(queue, tall, slots=2)
    paused = await queue.clients.submit(a_request(manifest, count=3))
    shift.gate.permit(2)
    await until(lambda: shift.gate.begun == 3)
    await pause_and_rest(queue, paused, shift, until)
    rows = shift.gate.rows  # were drawn of each, and none is lost
    for index in range(2):
        assert await redis.strlen(queue.store.keys.pixels(paused.id, index)) == rows * manifest.width
    other = await queue.clients.submit(a_request(manifest, count=2, seed=8))
    shift.gate.open()
    await until(ended(queue, other))
    await assert_undisturbed(queue, other, tall, seed=8)
    assert (await queue.clients.get(paused.id)).state is JobState.PAUSED
    await queue.clients.resume(paused.id)
    await until(ended(queue, paused))
    await assert_undisturbed(queue, paused, tall)
    assert SAMPLES_MADE_WAY.labels(manifest.name)._value.get() == before


@pytest.mark.parametrize("row", [0, 1, 7])
async def test_a_job_paused_at_any_row_and_resumed_has_the_same_bytes(
    queue: Queues, hire: Hire, tall: Model, until: Until, row: int
) -> None:
    manifest, _ = tall
    shift = hire(queue, tall, slots=1)
    job = await queue.clients.submit(a_request(manifest, count=1))
    if row:
        shift.gate.permit(row)
    await until(lambda: shift.gate.begun == row + 1)
    await pause_and_rest(queue, job, shift, until)
    assert (await queue.clients.get(job.id)).state is JobState.PAUSED
    await queue.clients.resume(job.id)
    shift.gate.open()
    await until(ended(queue, job))
    await assert_undisturbed(queue, job, tall)


def test_a_paused_sample_whose_tick_is_taken_back_leaves_at_once(toy: Model) -> None:
    manifest, _ = toy
    scheduler, sample = Scheduler(1), a_sample(manifest)
    scheduler.enqueue([sample])
    tick = scheduler.next_tick()
    assert tick is not None
    scheduler.pause([sample])
    assert not sample.outcome  # its row may still be drawn
    scheduler.take_back(tick)
    assert isinstance(sample.outcome, Released)
    assert scheduler.room == 1
