"""A model is replaced while workers draw: every job is drawn by the export that it was submitted for."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from smalti.jobs.reading import NO_WORKER
from smalti.runtime.repository import ModelRepository
from tests.conftest import Until
from tests.queues import Queues
from tests.toy_model import Toy, write_toy_model
from tests.worker.conftest import Model
from tests.worker.story import FINGERPRINT, a_request, assert_undisturbed, ended, open_runner
from worker.engine import Engine
from worker.worker import Worker


async def test_jobs_of_a_replaced_model_are_drawn_by_the_export_they_were_submitted_for(
    queue: Queues,
    toy_repository: Path,
    toy: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
) -> None:
    monkeypatch.setattr("worker.worker.LOOK_SECONDS", 0.05)
    old, _ = toy
    shutil.copytree(toy_repository, tmp_path / "kept")
    async with at_work(queue, toy_repository) as worker_with_both:
        shutil.rmtree(toy_repository / old.name)
        new = write_toy_model(toy_repository, Toy(colours=5))
        await until(lambda: len(worker_with_both.digests) == 2)
        jobs = [await queue.clients.submit(a_request(manifest, count=3)) for manifest in (old, new)]
        for job in jobs:
            await until(ended(queue, job))
    await assert_undisturbed(queue, jobs[0], toy)
    await assert_undisturbed(queue, jobs[1], open_runner(toy_repository, new.name))
    waiting = await queue.clients.submit(a_request(old, count=3))
    async with at_work(queue, toy_repository):  # given workers that were restarted since
        other = await queue.clients.submit(a_request(new))
        await until(ended(queue, other))
        assert (await queue.clients.get(waiting.id)).reason == NO_WORKER
        shutil.rmtree(toy_repository / old.name)
        shutil.copytree(
            tmp_path / "kept" / old.name, toy_repository / old.name
        )  # when the old one is put back
        await until(ended(queue, waiting))
    await assert_undisturbed(queue, waiting, toy)


@asynccontextmanager
async def at_work(queue: Queues, root: Path) -> AsyncIterator[Engine]:
    """Runs a worker on this repository; gives its engine."""
    engine = Engine(ModelRepository(root), slots=2)
    await engine.load()
    stopping = asyncio.Event()
    worker = Worker([queue.workers], engine, slots=2, fingerprint=FINGERPRINT, lease_seconds=10.0)
    task = asyncio.create_task(worker.run(stopping))
    try:
        yield engine
    finally:
        stopping.set()
        await task
        engine.close()
