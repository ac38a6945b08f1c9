"""What tests of the worker tell their stories with: requests, claims, and the same samples drawn one at a time."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import SampleFailed
from smalti.jobs.job import Claim, JobRequest
from smalti.repository import Manifest, ModelRepository
from smalti.session import open_session
from worker.admission import plan
from worker.engine import DrawsRows
from worker.runner import GRAPH, Runner
from worker.slot import Lane, Row, Sample

SHIPPED = Path(__file__).parents[2] / "model_repository"


def a_request(manifest: Manifest, **changes: Any) -> JobRequest:
    """A job for all that the model can draw."""
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


def open_runner(root: Path, name: str, *, slots: int = 32, padded: bool = False) -> tuple[Manifest, Runner]:
    """A model of the repository, ready to draw in real onnxruntime."""
    model = ModelRepository(root).load(name)
    runner = Runner(open_session(model.path(GRAPH)), model.manifest, slots=slots, padded=padded)
    return model.manifest, runner


def finish(runner: DrawsRows, samples: Sequence[Sample], *, rows: int | None = None) -> None:
    """Draw the samples together, sample i in slot i, to their ends or so many rows further."""
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
    """Pixels and log-probability of a sample that nothing disturbed."""
    sample = a_sample(manifest, index, **changes)
    finish(runner, [sample])
    return pixels_of(sample), sample.log_probability


class Gate:
    """A runner that draws one row for each permit, so that a test decides how far the drawing is."""

    def __init__(self, runner: DrawsRows) -> None:
        self.rows = 0  # ticks drawn so far
        self._runner = runner
        self._permits = threading.Semaphore(0)
        self._is_open = False

    def draw_row(self, lanes: Sequence[Lane]) -> list[Row | SampleFailed]:
        """Wait for a permit, then draw."""
        if not self._is_open:
            self._permits.acquire()
        self.rows += 1
        return self._runner.draw_row(lanes)

    def warm(self) -> None:
        """Nothing to warm."""

    def permit(self, rows: int) -> None:
        """Let so many ticks pass."""
        self._permits.release(rows)

    def open(self) -> None:
        """Let all pass from now on."""
        self._is_open = True
        self._permits.release()
