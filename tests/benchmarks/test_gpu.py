"""The GPU benchmark finds wrong numbers and broken promises, and says in one sentence that there is no GPU."""

import json
from collections.abc import Sequence
from functools import partial

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import speed
from benchmarks.gpu.checks import DIFFERENCE, EQUAL, across_sizes, drawn, faults, parity, promises
from benchmarks.gpu.speed import TorchRows, ratios
from benchmarks.gpu.waiting import Asked, lines, waiting
from benchmarks.torch_loop import torch_loop
from smalti.randomness import uniforms
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.repository import ModelRepository
from smalti.runtime.session import open_session
from tests.worker.story import SHIPPED, open_runner
from worker.device_runner import DeviceRunner
from worker.sample import Lane, Row

NAME = "digits-pixel-rnn-lecture"


def on_device(slots: int) -> DeviceRunner:
    model = ModelRepository(SHIPPED).load(NAME)
    return DeviceRunner(
        lambda batch, captured: open_session(model.path(GRAPH), batch=batch),
        model.manifest,
        buckets=[slots],
        device="cpu",
    )


class WrongInLastSlot:
    """A runner that computes other bits in its last slot."""

    def __init__(self, *, slots: int) -> None:
        self._slots = slots
        _, self._runner = open_runner(SHIPPED, NAME, slots=slots)

    def draw_row(self, lanes: Sequence[Lane]) -> list[Row]:
        rows = self._runner.draw_row(lanes)
        assert all(isinstance(row, Row) for row in rows)
        return [
            Row(row.pixels, row.log_probabilities + np.float32(1e-3) * (lane.slot == self._slots - 1))
            for lane, row in zip(lanes, rows, strict=True)
            if isinstance(row, Row)
        ]

    def warm(self) -> None:
        """Do nothing."""


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="may have a GPU")
def test_without_a_gpu_the_command_fails_with_one_sentence():
    result = CliRunner().invoke(gpu.main, [])
    assert result.exit_code == 1
    assert "There is nothing to measure" in result.output
    assert "no working CUDAExecutionProvider here" in result.output
    assert len(result.output.splitlines()) == 1


def test_a_device_runner_on_the_cpu_passes_every_check():
    manifest, on_cpu = open_runner(SHIPPED, NAME)
    runner, model = on_device(4), ModelRepository(SHIPPED).load(NAME)
    found = parity(model, runner, on_cpu, images=4)
    assert found[DIFFERENCE] < 1e-4
    assert found[EQUAL] == 1.0
    kept = promises(runner, manifest, slots=4)
    assert len(kept) == 7
    assert faults(found, kept) == []
    assert across_sizes({1: on_device(1), 4: runner}, manifest) == {"in a batch of 1": True}


def test_a_slot_with_other_bits_breaks_the_promise():
    manifest, on_cpu = open_runner(SHIPPED, NAME)
    other = WrongInLastSlot(slots=4)
    figures = parity(ModelRepository(SHIPPED).load(NAME), other, on_cpu, images=4)
    assert faults(figures, promises(other, manifest, slots=4)) == [
        f"{DIFFERENCE} is {figures[DIFFERENCE]:.1e}",
        "the seed promise is broken: in the last slot",
        "the seed promise is broken: in the last slot, beside others",
    ]


def test_nan_log_probabilities_are_a_fault():
    assert faults({DIFFERENCE: float("nan"), EQUAL: 1.0}, {})


def test_forced_pixels_are_kept():
    manifest, runner = open_runner(SHIPPED, NAME)
    free = drawn(runner, manifest, {0: 0, 3: 1})
    given = drawn(runner, manifest, {1: 5, 2: 6}, forced=free.pixels)
    assert (given.pixels == free.pixels).all()


@pytest.mark.parametrize("name", ["digits-pixel-rnn", "digits-pixel-rnn-lecture"])
def test_torch_rows_draw_the_pixels_of_the_torch_loop(name):
    loop = torch_loop(ModelRepository(SHIPPED).load(name))
    numbers = np.stack([uniforms(7, index, 0, loop.height * loop.width) for index in range(3)])
    rows = TorchRows(loop, 3, "cpu")
    expected = loop.draw(numbers)
    assert (rows.draw(numbers) == expected).all()
    assert (rows.draw(numbers) == expected).all()  # also with the state that the first run left


def test_ratios_say_how_many_times_as_fast_as_torch():
    assert ratios({"smalti": 60.0, "torch": 2.0, "torch with CUDA graphs": 30.0}) == {
        "torch": 30.0,
        "torch with CUDA graphs": 2.0,
    }


@pytest.mark.slow
def test_every_kind_of_request_is_timed():
    asked = Asked(vae="digits-vae", gan="digits-gan", pixel_rnn="digits-pixel-rnn")
    found = waiting(SHIPPED, asked, providers=["cpu"], slots=4, times=2)
    assert len(found["cpu"]) == 5
    assert all(0 < one["p50"] <= one["p99"] for one in found["cpu"].values())


def test_results_name_cuda_and_cpu_in_columns():
    found = {provider: {"a request": {"p50": 1.0, "p99": 2.5}} for provider in ("cuda", "cpu")}
    [line] = lines(found)
    assert " ".join(line.split()) == "a request cuda p50 1.00 ms p99 2.50 ms cpu p50 1.00 ms p99 2.50 ms"


def test_the_command_prints_and_writes_checks_speed_and_waiting_times(tmp_path, monkeypatch):
    def open_on_cpu(model, memory, batch, captured):
        return open_session(model.path(GRAPH), batch=batch)

    def three(model, runner, slots):
        return {"smalti": lambda: 40.0 * slots, "torch": lambda: 1.0, "torch with CUDA graphs": lambda: 20.0}

    found = {provider: {"a request": {"p50": 1.0, "p99": 2.5}} for provider in ("cuda", "cpu")}
    monkeypatch.setattr(gpu, "_open", open_on_cpu)  # given the CPU instead of a GPU
    monkeypatch.setattr(gpu, "DeviceRunner", partial(DeviceRunner, device="cpu"))
    monkeypatch.setattr(speed, "candidates", three)
    monkeypatch.setattr(gpu, "waiting", lambda *arguments, **options: found)
    file = tmp_path / "gpu.json"
    result = CliRunner().invoke(gpu.main, ["--model", NAME, "--slots", "2", "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "(goal: 20)" in result.output
    figures = json.loads(file.read_text())
    assert figures["checks"][NAME]["captured"] is True
    assert figures["speed"][NAME]["2"]["ratios"].keys() == {"torch", "torch with CUDA graphs"}
    assert figures["milliseconds"] == found
