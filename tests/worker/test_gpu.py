"""On an NVIDIA GPU: the seed promise holds, and replayed kernels draw the same as plain runs and nearly as the CPU."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from smalti.errors import ProviderMissing
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model, ModelRepository
from smalti.runtime.session import open_session
from tests.worker.story import SHIPPED, a_sample, drawn_alone, finish, pixels_of
from worker.device_runner import DeviceRunner
from worker.runner import Runner

pytestmark = pytest.mark.gpu

SLOTS = 8
MODELS = ["digits-pixel-rnn-lecture", "digits-pixel-rnn", "sprites-pixel-rnn-lecture", "sprites-pixel-rnn"]
MakeRunner = Callable[..., DeviceRunner]


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    """A model that ships."""
    return ModelRepository(SHIPPED).load(request.param)


@pytest.fixture
def on_gpu(model: Model) -> MakeRunner:
    """Makes warmed runners of the model on the GPU."""

    def make(*buckets: int, capture: bool = True) -> DeviceRunner:
        runner = DeviceRunner(partial(_open, model, capture), model.manifest, buckets=buckets or [SLOTS])
        runner.warm()
        return runner

    return make


def _open(model: Model, may_capture: bool, batch: int, captured: bool) -> Any:
    try:
        return open_session(
            model.path(GRAPH),
            provider=Provider(name="cuda"),
            batch=batch,
            cuda_graph=captured and may_capture,
        )
    except ProviderMissing as missing:
        pytest.skip(f"no GPU to test on: {missing}")


@pytest.mark.parametrize("neighbours", [1, SLOTS - 1])
def test_a_sample_has_the_same_bits_alone_and_beside_others(
    model: Model, on_gpu: MakeRunner, neighbours: int
) -> None:
    runner = on_gpu()
    alone = drawn_alone(runner, model.manifest, 0)
    samples = [a_sample(model.manifest, index, temperature=1 + index / 4) for index in range(1 + neighbours)]
    finish(runner, samples)
    assert (pixels_of(samples[0]), samples[0].log_probability) == alone


def test_a_sample_has_the_same_bits_in_any_slot(model: Model, on_gpu: MakeRunner) -> None:
    runner = on_gpu()
    alone = drawn_alone(runner, model.manifest, 3)
    for slot in range(SLOTS):
        samples = [a_sample(model.manifest, 10 + index) for index in range(SLOTS)]
        samples[slot] = a_sample(model.manifest, 3)
        finish(runner, samples)
        assert (pixels_of(samples[slot]), samples[slot].log_probability) == alone


def test_a_sample_resumed_at_any_row_goes_on_with_the_same_bits(model: Model, on_gpu: MakeRunner) -> None:
    manifest, runner = model.manifest, on_gpu()
    whole, log_probability = drawn_alone(runner, manifest, 5)
    row_bytes = len(whole) // manifest.height
    for rows in range(manifest.height):
        resumed = a_sample(manifest, 5, pixels=whole[: rows * row_bytes])
        finish(on_gpu() if rows == 1 else runner, [resumed])  # once in a session of its own
        assert whole[: rows * row_bytes] + pixels_of(resumed) == whole
        assert resumed.log_probability == log_probability


def test_replayed_kernels_draw_the_same_as_plain_runs(model: Model, on_gpu: MakeRunner) -> None:
    captured, plain = on_gpu(), on_gpu(capture=False)
    for index in range(3):
        assert drawn_alone(captured, model.manifest, index) == drawn_alone(plain, model.manifest, index)


def test_forced_pixels_have_the_log_probabilities_that_the_cpu_gives(
    model: Model, on_gpu: MakeRunner
) -> None:
    manifest = model.manifest
    on_cpu = Runner(open_session(model.path(GRAPH)), manifest, slots=1)
    pixels, _ = drawn_alone(on_cpu, manifest, 1)
    image = np.frombuffer(pixels, dtype=np.uint8).astype(np.int64).reshape(manifest.height, manifest.width)
    [expected] = open_session(model.path("score")).run(["logp"], {"pixels": image[None]})
    sample, runner, found = a_sample(manifest, 1, kept=image.astype("<i4").tobytes()), on_gpu(), []
    for _ in range(manifest.height):
        [row] = runner.draw_row([sample.next_lane(0)])
        found.append(row.log_probabilities)
    assert np.abs(np.stack(found) - expected[0]).max() < 1e-4


def test_shipped_models_are_captured(model: Model, on_gpu: MakeRunner) -> None:
    assert on_gpu().is_captured
