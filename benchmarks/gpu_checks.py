"""Whether a runner draws what another one draws, and whether it keeps the seed promise."""

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
TOLERANCE = 1e-4  # nats, of a pixel's log-probability
DIFFERENCE, EQUAL = "largest difference of a log-probability", "share of equal pixels"


@dataclass(frozen=True, slots=True)
class Pictures:
    """Images as a runner drew them."""

    pixels: NDArray[np.int64]  # (images, rows, columns)
    log_probabilities: NDArray[np.float32]  # likewise, nats

    def bits(self, image: int) -> bytes:
        """All that was drawn of one image."""
        return bytes(self.pixels[image].tobytes() + self.log_probabilities[image].tobytes())


def drawn(
    runner: DrawsRows,
    manifest: Manifest,
    slots: Mapping[int, int],
    *,
    forced: NDArray[np.int64] | None = None,
) -> Pictures:
    """The images whose indices these slots hold, in order; forced (images, rows, columns), −1 where drawn."""
    height, width = manifest.height, manifest.width
    numbers = [uniforms(SEED, index, 0, height * width).reshape(height, width) for index in slots.values()]
    kept = np.full((len(slots), height, width), -1, dtype=np.int64) if forced is None else forced
    pixels, log_probabilities = [], []
    for number in range(height):
        lanes = [Lane(slot, number, numbers[i][number], kept[i, number], 1.0) for i, slot in enumerate(slots)]
        rows = [_row(drawn) for drawn in runner.draw_row(lanes)]
        pixels.append([row.pixels for row in rows])
        log_probabilities.append([row.log_probabilities for row in rows])
    return Pictures(
        np.array(pixels, dtype=np.int64).swapaxes(0, 1),
        np.array(log_probabilities, dtype=np.float32).swapaxes(0, 1),
    )


def parity(model: Model, runner: DrawsRows, on_cpu: DrawsRows, *, images: int) -> dict[str, float]:
    """How far a runner is from the CPU: of given pixels `score`'s log-probabilities there, of free ones the pixels.

    A pixel whose random number falls next to an edge between two colours may differ; all after it then differ too.
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
    """Whether an image has the same bits however it is drawn in batches of one size."""
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
    """Whether an image has the same bits in batches of other sizes as in the largest; this is not promised."""
    bits = {size: drawn(runner, manifest, {0: 0}).bits(0) for size, runner in runners.items()}
    return {f"in a batch of {size}": bits[size] == bits[max(bits)] for size in bits if size != max(bits)}


def faults(figures: Mapping[str, float], kept: Mapping[str, bool]) -> Sequence[str]:
    """What is not as it must be, in words."""
    broken = [f"the seed promise is broken: {name}" for name, is_kept in kept.items() if not is_kept]
    far = [f"{DIFFERENCE} is {figures[DIFFERENCE]:.1e}"] if not figures[DIFFERENCE] < TOLERANCE else []
    return [*far, *broken]


def _row(drawn: Row | SampleFailed) -> Row:
    if isinstance(drawn, SampleFailed):
        raise drawn
    return drawn


def _rows(pictures: Pictures, rows: int) -> NDArray[np.int64]:
    """The first rows given, the rest to be drawn: what a worker does that goes on with another's sample."""
    forced = np.full_like(pictures.pixels, -1)
    forced[:, :rows] = pictures.pixels[:, :rows]
    return forced
