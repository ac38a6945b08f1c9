"""Candidates that a benchmark compares: they take turns, because machines are noisy."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

import numpy as np

from smalti.randomness import uniforms
from smalti.runtime.repository import Model
from worker.engine import DrawsRows
from worker.sample import Lane, Row

SEED = 7
Candidate = Callable[[], float]  # draws, and returns how many samples it has drawn


def draws_a_batch(runner: DrawsRows, model: Model, batch: int) -> Candidate:
    """A candidate that draws a batch of images with a worker's runner, row by row."""
    height, width = model.manifest.height, model.manifest.width
    uniform = [uniforms(SEED, index, 0, height * width).reshape(height, width) for index in range(batch)]
    free = np.full(width, -1, dtype=np.int64)
    rows = [
        [Lane(slot, row, numbers[row], free, 1.0) for slot, numbers in enumerate(uniform)]
        for row in range(height)
    ]
    runner.warm()

    def draw() -> float:
        for lanes in rows:
            drawn = runner.draw_row(lanes)
            assert all(isinstance(one, Row) for one in drawn)
        return batch

    return draw


def measure_in_turns(candidates: Mapping[str, Candidate], rounds: int) -> dict[str, float]:
    """Samples per second of each candidate: the median over the rounds."""
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(rounds + 1):
        for name, draw in candidates.items():
            started = perf_counter()
            samples = draw()
            if round_number:  # the first round is slower, and does not count
                rates[name].append(samples / (perf_counter() - started))
    return {name: median(found) for name, found in rates.items()}
