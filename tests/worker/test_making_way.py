"""An interactive sample has its first row within two ticks, and the standard sample that makes way loses nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from smalti.jobs.job import Claim, Job, JobClass, JobRequest
from smalti.jobs.store import QueueStore
from smalti.jobs.workers import WorkerQueue
from smalti.runtime.manifest import Manifest
from smalti.runtime.metrics import SAMPLES_MADE_WAY
from tests.conftest import Until
from tests.queues import Queues, queues_on
from tests.smalti.jobs.story import Asking
from tests.toy_model import Toy, write_toy_model
from tests.worker.conftest import Hire, Model
from tests.worker.story import a_request, assert_undisturbed, ended, open_runner

SEED = 99


class Noting(WorkerQueue):
    """A queue that notes which jobs' samples were claimed."""

    def __init__(self, store: QueueStore) -> None:
        super().__init__(store)
        self.claimed: set[str] = set()

    async def claim(self, *arguments: Any, **options: Any) -> list[Claim]:
        claims = await super().claim(*arguments, **options)
        self.claimed |= {claim.job for claim in claims}
        return claims


@pytest.fixture
def queue(redis: Redis) -> Queues:
    """An empty queue."""
    queue = queues_on(redis)
    return replace(queue, workers=Noting(queue.store))


def has_claimed(queue: Queues, job: Job) -> Callable[[], bool]:
    noting = queue.workers
    assert isinstance(noting, Noting)
    return lambda: job.id in noting.claimed


def interactive(manifest: Manifest, **changes: Any) -> JobRequest:
    fields: dict[str, Any] = {"count": 1, "seed": SEED, "job_class": JobClass.INTERACTIVE}
    return a_request(manifest, **fields | changes)


def has_row(queue: Queues, job: Job) -> Callable[[], Any]:
    async def has_it() -> bool:
        return any(rows.pixels for rows in await queue.watchers.rows(job, {}))

    return has_it


def made_way(manifest: Manifest) -> float:
    return float(SAMPLES_MADE_WAY.labels(manifest.name)._value.get())


async def test_an_interactive_sample_has_its_first_row_within_two_ticks_of_a_busy_worker(
    queue: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    shift = hire(queue, toy, slots=2)
    standard = await queue.clients.submit(a_request(manifest, count=50))
    shift.gate.permit(2)
    await until(lambda: shift.gate.begun == 3)  # and a fourth tick is handed out
    hurried = await queue.clients.submit(interactive(manifest))
    await until(has_claimed(queue, hurried))
    shift.gate.permit(2)
    await until(has_row(queue, hurried))
    assert shift.gate.rows == 4
    shift.gate.open()
    for job, changes in ((hurried, {"seed": SEED}), (standard, {})):
        await until(ended(queue, job), seconds=30)
        await assert_undisturbed(queue, job, toy, **changes)


@pytest.mark.parametrize("row", range(6))
async def test_a_sample_that_makes_way_at_any_row_goes_on_with_the_same_bytes(
    queue: Queues, hire: Hire, toy: Model, until: Until, row: int
) -> None:
    manifest, _ = toy
    before = made_way(manifest)
    shift = hire(queue, toy, slots=1)
    standard = await queue.clients.submit(a_request(manifest, count=1))
    if row:
        shift.gate.permit(row)
    await until(lambda: shift.gate.begun == row + 1)
    hurried = await queue.clients.submit(interactive(manifest))
    await until(has_claimed(queue, hurried))
    shift.gate.open()
    for job, changes in ((hurried, {"seed": SEED}), (standard, {})):
        await until(ended(queue, job))
        await assert_undisturbed(queue, job, toy, **changes)
    last = row == manifest.height - 1  # then its slot is free already
    assert made_way(manifest) == before + (not last)


async def test_a_sample_that_makes_way_keeps_its_drawn_rows_and_is_charged_no_crash(
    queue: Queues, hire: Hire, toy: Model, redis: Redis, until: Until
) -> None:
    manifest, _ = toy
    shift = hire(queue, toy, slots=1)
    standard = await queue.clients.submit(a_request(manifest, count=1))
    shift.gate.permit(2)
    await until(lambda: shift.gate.begun == 3)
    hurried = await queue.clients.submit(interactive(manifest))
    await until(has_claimed(queue, hurried))
    shift.gate.permit(2)
    await until(has_row(queue, hurried))
    sample, pixels = (f"smalti:{{default}}:{name}:{standard.id}:0" for name in ("sample", "pixels"))
    assert await redis.strlen(pixels) == 3 * manifest.width  # the third was under way
    assert await redis.hget(sample, "crashes") == b"0"
    [held] = await redis.keys("smalti:{default}:held:*")
    assert await redis.zrange(held, 0, -1) == [f"{hurried.id}:0".encode()]  # not the standard sample


async def test_no_sample_makes_way_if_there_is_a_free_slot(
    queue: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    before = made_way(manifest)
    shift = hire(queue, toy, slots=3)
    standard = await queue.clients.submit(a_request(manifest, count=2))
    shift.gate.permit(2)
    await until(lambda: shift.gate.begun == 3)
    hurried = await queue.clients.submit(interactive(manifest))
    await until(has_claimed(queue, hurried))
    shift.gate.open()
    await until(ended(queue, hurried))
    await until(ended(queue, standard))
    assert made_way(manifest) == before


async def test_an_interactive_sample_of_another_model_is_drawn_in_the_next_tick(
    queue: Queues, hire: Hire, toy: Model, tmp_path: Path, until: Until
) -> None:
    manifest, _ = toy
    write_toy_model(tmp_path / "wide", Toy(name="wide", width=9, height=3))
    wide = open_runner(tmp_path / "wide", "wide")
    shift = hire(queue, toy, wide, slots=2)
    standard = await queue.clients.submit(a_request(manifest, count=10))
    shift.gate.permit(2)
    await until(lambda: shift.gate.begun == 3)
    hurried = await queue.clients.submit(interactive(wide[0]))
    await until(has_claimed(queue, hurried))
    shift.gate.permit(1)  # of the tick that had begun
    await until(has_row(queue, hurried))
    shift.gate.open()
    for job, model, changes in ((hurried, wide, {"seed": SEED}), (standard, toy, {})):
        await until(ended(queue, job))
        await assert_undisturbed(queue, job, model, **changes)


async def test_standard_samples_are_drawn_beside_any_number_of_interactive_ones(
    queue: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    shift = hire(queue, toy, slots=4)
    crowd = await queue.clients.submit(interactive(manifest, count=1000))
    standard = await queue.clients.submit(a_request(manifest, count=6))
    shift.gate.open()
    await until(ended(queue, standard), seconds=30)
    assert (await queue.clients.get(crowd.id)).done < 1000
    await queue.clients.cancel(crowd.id)
    await assert_undisturbed(queue, standard, toy)


async def test_a_worker_of_one_slot_draws_standard_samples_beside_any_number_of_interactive_ones(
    queue: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    shift = hire(queue, toy, slots=1)
    crowd = await queue.clients.submit(interactive(manifest, count=1000))
    standard = await queue.clients.submit(a_request(manifest, count=3))
    shift.gate.open()
    await until(ended(queue, standard), seconds=30)
    assert (await queue.clients.get(crowd.id)).done < 100
    await queue.clients.cancel(crowd.id)
    await assert_undisturbed(queue, standard, toy)


async def test_a_single_sample_beside_a_large_job_has_its_first_row_within_one_sample_time(
    queue: Queues, hire: Hire, toy: Model, until: Until
) -> None:
    manifest, _ = toy
    shift = hire(queue, toy, slots=2)
    await queue.all_clients.of(Asking("large")).submit(a_request(manifest, count=100_000))
    shift.gate.permit(1)
    await until(lambda: shift.gate.begun == 2)  # given a worker whose slots are all taken
    single = await queue.all_clients.of(Asking("small")).submit(a_request(manifest, count=1, seed=SEED))
    shift.gate.permit(manifest.height)
    await until(has_row(queue, single))
    assert shift.gate.rows <= 1 + manifest.height
    shift.gate.open()
    await until(ended(queue, single))
    await assert_undisturbed(queue, single, toy, seed=SEED)
