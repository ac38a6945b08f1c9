"""Checks that a runner draws what the CPU draws, and that it keeps the seed promise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.errors import SampleFailed
from smalti.randomness import uniforms
from smalti.runtime.manifest import Manifest
from smalti.runtime.repository import Model
from smalti.runtime.session import open_graph
from worker.engine import DrawsRows
from worker.sample import Lane, Row

SEED = 7
TOLERANCE = 1e-4  # nats, for the log-probability of a pixel
DIFFERENCE, EQUAL = "largest difference of a log-probability", "share of equal pixels"


@dataclass(frozen=True, slots=True)
class Drawn:
    """Images that a runner has drawn."""

    pixels: NDArray[np.int64]  # (images, rows, columns)
    log_probabilities: NDArray[np.float32]  # the same shape; nats

    def bits(self, image: int) -> bytes:
        """The pixels and log-probabilities of one image, as bytes."""
        return bytes(self.pixels[image].tobytes() + self.log_probabilities[image].tobytes())


def drawn(
    runner: DrawsRows,
    manifest: Manifest,
    slots: Mapping[int, int],
    *,
    forced: NDArray[np.int64] | None = None,
) -> Drawn:
    """Draw the images that these slots hold (slot → index); forced (images, rows, columns) has −1 where to draw."""
    height, width = manifest.height, manifest.width
    numbers = [uniforms(SEED, index, 0, height * width).reshape(height, width) for index in slots.values()]
    kept = np.full((len(slots), height, width), -1, dtype=np.int64) if forced is None else forced
    pixels, log_probabilities = [], []
    for number in range(height):
        lanes = [Lane(slot, number, numbers[i][number], kept[i, number], 1.0) for i, slot in enumerate(slots)]
        rows = [_row(drawn) for drawn in runner.draw_row(lanes)]
        pixels.append([row.pixels for row in rows])
        log_probabilities.append([row.log_probabilities for row in rows])
    return Drawn(
        np.array(pixels, dtype=np.int64).swapaxes(0, 1),
        np.array(log_probabilities, dtype=np.float32).swapaxes(0, 1),
    )


def parity(model: Model, runner: DrawsRows, on_cpu: DrawsRows, *, images: int) -> dict[str, float]:
    """How far a runner is from the CPU: in log-probabilities of forced pixels, and in pixels that it draws freely.

    A pixel may differ if its random number lies next to the edge between two colours; then all later pixels may differ.
    """
    slots = {number: number for number in range(images)}
    reference = drawn(on_cpu, model.manifest, slots)
    [expected] = open_graph(model, "score").run(["logp"], {"pixels": reference.pixels})
    given = drawn(runner, model.manifest, slots, forced=reference.pixels)
    free = drawn(runner, model.manifest, slots)
    return {
        DIFFERENCE: float(np.abs(given.log_probabilities - expected).max()),
        EQUAL: float((free.pixels == reference.pixels).mean()),
    }


def promises(runner: DrawsRows, manifest: Manifest, *, slots: int) -> dict[str, bool]:
    """Whether an image has the same bits in every slot, beside others, and resumed: in batches of one size."""
    first = drawn(runner, manifest, {0: 0})
    bits = first.bits(0)
    full = {slot: slot for slot in range(slots)}
    elsewhere = {slots - 1 - slot: slot for slot in range(slots)}
    return {
        "the same again": drawn(runner, manifest, {0: 0}).bits(0) == bits,
        "beside others": drawn(runner, manifest, full).bits(0) == bits,
        "in the last slot": drawn(runner, manifest, {slots - 1: 0}).bits(0) == bits,
        "in the last slot, beside others": drawn(runner, manifest, elsewhere).bits(0) == bits,
        **{
            f"resumed at row {row}": drawn(runner, manifest, {0: 0}, forced=_rows(first, row)).bits(0) == bits
            for row in sorted({1, manifest.height // 2, manifest.height - 1})
        },
    }


def across_sizes(runners: Mapping[int, DrawsRows], manifest: Manifest) -> dict[str, bool]:
    """Whether an image has the same bits in smaller batches as in the largest; this is not promised."""
    bits = {size: drawn(runner, manifest, {0: 0}).bits(0) for size, runner in runners.items()}
    return {f"in a batch of {size}": bits[size] == bits[max(bits)] for size in bits if size != max(bits)}


def faults(figures: Mapping[str, float], kept: Mapping[str, bool]) -> Sequence[str]:
    """A sentence for each check that failed."""
    broken = [f"the seed promise is broken: {name}" for name, is_kept in kept.items() if not is_kept]
    far = [f"{DIFFERENCE} is {figures[DIFFERENCE]:.1e}"] if not figures[DIFFERENCE] < TOLERANCE else []
    return [*far, *broken]


def _row(drawn: Row | SampleFailed) -> Row:
    if isinstance(drawn, SampleFailed):
        raise drawn
    return drawn


def _rows(images: Drawn, rows: int) -> NDArray[np.int64]:
    """Force the first rows and leave the rest free, as a worker does that resumes a sample of another worker."""
    forced = np.full_like(images.pixels, -1)
    forced[:, :rows] = images.pixels[:, :rows]
    return forced
