"""Models and running workers for the tests of the worker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from smalti.runtime.manifest import Manifest
from smalti.runtime.repository import ModelRepository
from tests.queues import Queues, queues_on
from tests.worker.story import FINGERPRINT, SHIPPED, Gate, Shift, open_runner
from worker.engine import Engine
from worker.runner import Runner
from worker.worker import Worker

Model = tuple[Manifest, Runner]
Hire = Callable[..., Shift]


@pytest.fixture
def toy(toy_repository: Path) -> Model:
    """The toy and a runner for it."""
    return open_runner(toy_repository, "toy-pixel-rnn")


@pytest.fixture(
    params=["toy-pixel-rnn", "digits-pixel-rnn", "digits-pixel-rnn-lecture", "digits-pixel-rnn-lecture-int8"]
)
def model(request: pytest.FixtureRequest, toy_repository: Path) -> Model:
    """The toy, and the real models for digits that ship with smalti, each with a runner."""
    root = toy_repository if request.param.startswith("toy") else SHIPPED
    return open_runner(root, request.param)


@pytest.fixture
async def hire(tmp_path: Path) -> AsyncIterator[Hire]:
    """Starts workers; their ticks wait for permits until the gate is opened."""
    shifts: list[Shift] = []

    def start(
        queue: Queues, *models: Model, slots: int = 4, others: Sequence[Queues] = (), **options: Any
    ) -> Shift:
        engine = Engine(ModelRepository(tmp_path / "nothing"), slots=slots)
        gate = Gate(models[0][1])
        for manifest, runner in models:
            engine.add(manifest, gate if runner is models[0][1] else runner)
        defaults: dict[str, Any] = {"fingerprint": FINGERPRINT, "lease_seconds": 10.0}
        worker = Worker(
            [part.workers for part in (queue, *others)], engine, slots=slots, **defaults | options
        )
        shift = Shift(worker, engine, gate)
        shift.task = asyncio.create_task(worker.run(shift.stopping))
        shifts.append(shift)
        return shift

    yield start
    for shift in shifts:
        shift.gate.open()
        shift.stopping.set()
    await asyncio.gather(*(shift.task for shift in shifts), return_exceptions=True)
    for shift in shifts:
        shift.engine.close()


@pytest.fixture
def queue(redis: Redis) -> Queues:
    """An empty queue."""
    return queues_on(redis)
