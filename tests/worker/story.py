"""Helpers for tests of the worker: requests, claims, and samples that are drawn alone."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import SampleFailed
from smalti.jobs.job import Claim, Job, JobRequest, JobState, SampleResult
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.manifest import Manifest
from smalti.runtime.repository import ModelRepository
from smalti.runtime.session import open_session
from tests.queues import Queues
from worker.engine import DrawsRows, Engine, ModelRunner
from worker.plan import plan
from worker.runner import Runner
from worker.sample import Lane, Row, Sample
from worker.worker import Worker

FINGERPRINT = "test-fingerprint"
SHIPPED = Path(__file__).parents[2] / "model_repository"


def a_request(manifest: Manifest, **changes: Any) -> JobRequest:
    """A request that fits the model."""
    fields: dict[str, Any] = {
        "model": manifest.name,
        "version": manifest.version,
        "digest": manifest.digest,
        "rows": manifest.height,
        "columns": manifest.width,
        "colours": len(manifest.palette),
        "count": 4,
        "seed": 7,
    }
    return JobRequest(**fields | changes)


def a_claim(request: JobRequest, index: int = 0, *, pixels: bytes = b"", token: str = "") -> Claim:
    """A sample of the job, as the queue hands it out."""
    return Claim(job="job", index=index, token=token or str(1000 + index), request=request, pixels=pixels)


def a_sample(manifest: Manifest, index: int = 0, *, pixels: bytes = b"", **changes: Any) -> Sample:
    """A sample ready to be drawn."""
    claim = a_claim(a_request(manifest, **changes), index, pixels=pixels)
    return Sample(claim, plan(claim, manifest))


def keeping(manifest: Manifest, pixels: dict[tuple[int, int], int]) -> bytes:
    """The kept pixels of a request, by (row, column)."""
    forced = np.full((manifest.height, manifest.width), -1, dtype="<i4")
    for place, colour in pixels.items():
        forced[place] = colour
    return forced.tobytes()


def open_runner(root: Path, name: str, *, slots: int = 32) -> tuple[Manifest, Runner]:
    """A model of the repository, ready to draw in real onnxruntime."""
    model = ModelRepository(root).load(name)
    runner = Runner(open_session(model.path(GRAPH)), model.manifest, slots=slots)
    return model.manifest, runner


def finish(runner: DrawsRows, samples: Sequence[Sample], *, rows: int | None = None) -> None:
    """Draw the samples together, sample i in slot i, to their ends or for this many rows."""
    for _ in range(rows or max(sample.rows_left for sample in samples)):
        lanes = [(sample, sample.next_lane(slot)) for slot, sample in enumerate(samples) if sample.rows_left]
        drawn = runner.draw_row([lane for _, lane in lanes])
        for (sample, _), row in zip(lanes, drawn, strict=True):
            if isinstance(row, SampleFailed):
                sample.fail(str(row))
            else:
                sample.append(row)


def pixels_of(sample: Sample) -> bytes:
    """Everything the sample has drawn since its claim."""
    return sample.progress().pixels


def drawn_alone(runner: DrawsRows, manifest: Manifest, index: int, **changes: Any) -> tuple[bytes, float]:
    """Pixels and log-probability of a sample that was drawn without interruption."""
    sample = a_sample(manifest, index, **changes)
    finish(runner, [sample])
    return pixels_of(sample), sample.log_probability


class Gate:
    """A runner that draws one row for each permit, so that a test decides how far the drawing is."""

    def __init__(self, runner: ModelRunner) -> None:
        self.begun = 0  # ticks that the engine has asked for
        self.rows = 0  # ticks that got their permit
        self._runner: DrawsRows = runner
        self._apart = runner.apart
        self._permits = threading.Semaphore(0)
        self._opened = threading.Event()

    def draw_row(self, lanes: Sequence[Lane]) -> Sequence[Row | SampleFailed]:
        """Wait for a permit, then draw."""
        self.begun += 1
        if not self._opened.is_set():
            self._permits.acquire()
        self.rows += 1
        return self._runner.draw_row(lanes)

    def warm(self) -> None:
        """Nothing to warm."""

    def apart(self) -> "Gate":
        """Another gate that waits for the same permits."""
        other = copy(self)
        other._runner = self._apart()
        return other

    def permit(self, rows: int) -> None:
        """Let so many ticks pass."""
        self._permits.release(rows)

    def open(self) -> None:
        """Let all pass from now on."""
        self._opened.set()
        self._permits.release()


@dataclass
class Shift:
    """A worker at work; `stop` ends it in an orderly way."""

    worker: Worker
    engine: Engine
    gate: Gate
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None]" = field(init=False)

    async def stop(self) -> None:
        self.gate.open()
        self.stopping.set()
        await self.task


async def results(queue: Queues, job: Job) -> list[SampleResult]:
    return [result async for result in queue.watchers.results(job)]


def ended(queue: Queues, job: Job, state: JobState = JobState.SUCCEEDED) -> Callable[[], Any]:
    async def is_it() -> bool:
        return (await queue.clients.get(job.id)).state is state

    return is_it


async def assert_undisturbed(queue: Queues, job: Job, model: tuple[Manifest, Runner], **changes: Any) -> None:
    """Assert that every sample has the same bytes as if drawn alone."""
    manifest, runner = model
    alone = Runner(
        runner._session, manifest, slots=1
    )  # a runner with a state of its own: a worker may use the other one
    for result in await results(queue, job):
        expected = drawn_alone(alone, manifest, result.index, **changes)
        assert (result.pixels, result.log_probability) == expected


def holding(queue: Queues, samples: int) -> Callable[[], Any]:
    async def do_they() -> bool:
        return (await queue.upkeep.depth()).running_samples == samples

    return do_they
