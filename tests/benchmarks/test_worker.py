"""The torch loop draws what a worker draws, and its faster number of threads is compared."""

import numpy as np
import pytest

from benchmarks.torch_loop import torch_loop
from benchmarks.worker import rates_of_the_faster
from smalti.randomness import uniforms
from smalti.runtime.repository import ModelRepository
from tests.worker.story import SHIPPED, drawn_alone, open_runner


def test_the_faster_number_of_threads_is_compared() -> None:
    assert rates_of_the_faster({1: [70.0, 50.0], 2: [0.3, 0.4]}, {1: [60.0], 2: [0.2]}) == [70.0, 50.0, 60.0]


def test_without_torch_there_is_nothing_to_compare() -> None:
    assert rates_of_the_faster({}, {}) == []


@pytest.mark.parametrize(
    ("name", "images"), [("digits-pixel-rnn", 3), ("digits-pixel-rnn-lecture", 3), ("sprites-pixel-rnn", 1)]
)
def test_the_torch_loop_draws_the_same_pixels_as_a_worker(name: str, images: int) -> None:
    loop = torch_loop(ModelRepository(SHIPPED).load(name))
    manifest, runner = open_runner(SHIPPED, name)
    count = manifest.height * manifest.width
    drawn = loop.draw(np.stack([uniforms(7, index, 0, count) for index in range(images)]))
    for index, pixels in enumerate(drawn):
        assert pixels.astype("u1").tobytes() == drawn_alone(runner, manifest, index)[0]
