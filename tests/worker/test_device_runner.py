"""A DeviceRunner draws the same rows as the CPU's runner in any bucket, and captures only if that draws the same."""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from smalti.errors import RepositoryDamaged
from smalti.jobs.job import Failed, Finished, JobClass
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model, ModelRepository
from smalti.runtime.session import open_session
from tests.toy_model import Toy, write_toy_model
from tests.worker.story import SHIPPED, a_sample, drawn_alone, finish, keeping, open_runner, pixels_of
from tests.worker.test_seed_promise import Crowd, whole_image
from worker import engine
from worker.device_runner import DeviceFailed, DeviceRunner
from worker.engine import Engine
from worker.sample import Lane, Row
from worker.scheduler import Tick

BAD = 6  # a colour of the toy


class Watched:
    """A session on the CPU instead of a GPU; it notes its runs, and fails or draws something else on demand."""

    def __init__(self, path: Path, batch: int, captures: bool) -> None:
        self.batch = batch
        self.captures = captures
        self.runs: list[tuple[int, int]] = []  # the captured graph's number, the binding
        self.before_run: Callable[[int], None] = lambda number: None
        self._session = open_session(path, batch=batch)

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, iobinding: Any, run_options: Any) -> None:
        number = int(run_options.get_run_config_entry("gpu_graph_id"))
        self.runs.append((number, id(iobinding)))
        self.before_run(number)
        self._session.run_with_iobinding(iobinding, run_options)


class OnDevice:
    """A DeviceRunner of a model, and the sessions that it opened."""

    def __init__(self, model: Model, buckets: Sequence[int], **options: Any) -> None:
        self.manifest = model.manifest
        self.sessions: list[Watched] = []
        self.spoil: Callable[[Watched], None] = options.get("spoil", lambda session: None)
        self._model = model
        self.runner = DeviceRunner(self._open, model.manifest, buckets=buckets, device="cpu")

    def _open(self, batch: int, captured: bool) -> Watched:
        session = Watched(self._model.path(GRAPH), batch, captured)
        self.spoil(session)
        self.sessions.append(session)
        return session


Put = Callable[..., OnDevice]


@pytest.fixture
def toy_on_device(toy_repository: Path) -> Put:
    """Puts the toy on a device."""
    model = ModelRepository(toy_repository).load("toy-pixel-rnn")
    return lambda *buckets, **options: OnDevice(model, buckets, **options)


@pytest.mark.parametrize("name", ["toy-pixel-rnn", "digits-pixel-rnn", "digits-pixel-rnn-lecture"])
@pytest.mark.parametrize("buckets", [(5,), (1, 2, 5)])
def test_every_slot_of_every_bucket_draws_what_the_cpu_draws(
    toy_repository: Path, name: str, buckets: tuple[int, ...]
) -> None:
    root = toy_repository if name.startswith("toy") else SHIPPED
    manifest, plain = open_runner(root, name)
    runner = OnDevice(ModelRepository(root).load(name), buckets).runner
    runner.warm()
    for count in (1, 2, 5):
        samples = [a_sample(manifest, index, temperature=0.5 + index / 4) for index in range(count)]
        finish(runner, samples)
        for index, sample in enumerate(samples):
            alone = drawn_alone(plain, manifest, index, temperature=0.5 + index / 4)
            assert (pixels_of(sample), sample.log_probability) == alone


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    buckets=st.sets(st.integers(1, 5), min_size=1),
    kinds=st.lists(st.tuples(st.integers(0, 4), st.sampled_from(JobClass)), min_size=1, max_size=12),
    dice=st.randoms(use_true_random=False),
)
def test_any_mix_of_slots_and_interruptions_gives_the_same_bytes_as_the_cpu(
    toy_on_device: Put,
    toy: tuple[Any, Any],
    buckets: set[int],
    kinds: list[tuple[int, JobClass]],
    dice: Random,
) -> None:
    manifest, plain = toy
    changes: list[dict[str, Any]] = [{}, {"temperature": 0.4}, {"temperature": 2.5}, {"seed": 8}]
    changes.append({"kept": keeping(manifest, {(0, 1): 3, (4, 4): 0})})
    samples = [
        a_sample(manifest, index, job_class=job_class, **changes[kind])
        for index, (kind, job_class) in enumerate(kinds)
    ]
    crowd = Crowd((manifest, toy_on_device(*buckets).runner), max(buckets), samples)
    crowd.draw_all(lambda what: dice.random() < 0.7)
    drawn = {sample.claim.index: (whole_image(sample), sample.log_probability) for sample in crowd.ended}
    assert len(crowd.ended) == len(kinds)
    for index, (kind, _) in enumerate(kinds):
        assert drawn[index] == drawn_alone(plain, manifest, index, **changes[kind])


def test_a_tick_runs_the_smallest_bucket_that_reaches_its_highest_slot(toy_on_device: Put) -> None:
    on = toy_on_device(1, 4, 8)
    for slots in ([0], [2], [0, 3], [7], [0]):
        on.runner.draw_row([a_sample(on.manifest).next_lane(slot) for slot in slots])
    assert {session.batch: len(session.runs) for session in on.sessions} == {1: 2, 4: 2, 8: 1}


def test_a_sample_goes_on_in_a_larger_bucket_and_comes_back(toy_on_device: Put, toy: tuple[Any, Any]) -> None:
    runner, (manifest, plain) = toy_on_device(1, 2, 4).runner, toy
    first, second, third = (a_sample(manifest, index) for index in range(3))
    finish(runner, [first], rows=1)
    finish(runner, [first, second], rows=1)
    finish(runner, [first, second, third], rows=1)
    finish(runner, [first], rows=manifest.height - 3)  # the others were given up
    assert (pixels_of(first), first.log_probability) == drawn_alone(plain, manifest, 0)


def test_nan_fails_only_its_sample_and_does_not_stay_in_the_slot(tmp_path: Path) -> None:
    write_toy_model(tmp_path, Toy(poison=BAD))
    manifest, plain = open_runner(tmp_path, "toy-pixel-rnn")
    runner = OnDevice(ModelRepository(tmp_path).load("toy-pixel-rnn"), [3]).runner
    poisoned = a_sample(manifest, 1, kept=keeping(manifest, {(1, 1): BAD}))
    samples = [a_sample(manifest, 0), poisoned, a_sample(manifest, 2)]
    finish(runner, samples)
    assert [type(sample.outcome) for sample in samples] == [Finished, Failed, Finished]
    successors = [a_sample(manifest, index) for index in (3, 4, 5)]  # when others get the same slots
    finish(runner, successors)
    for index, sample in [(0, samples[0]), (2, samples[2]), (3, successors[0]), (4, successors[1])]:
        assert pixels_of(sample) == drawn_alone(plain, manifest, index)[0]


def test_a_row_is_refused_if_the_state_before_it_is_lost(toy_on_device: Put) -> None:
    on = toy_on_device(2)
    kept, left_out = a_sample(on.manifest, 0), a_sample(on.manifest, 1)
    finish(on.runner, [kept, left_out], rows=1)
    finish(on.runner, [kept], rows=1)  # given a tick without the other one
    with pytest.raises(ValueError, match="slot 1 does not hold the state before row 1"):
        on.runner.draw_row([left_out.next_lane(1)])


def test_a_captured_graph_is_always_run_with_the_same_addresses(toy_on_device: Put) -> None:
    on = toy_on_device(1, 4)
    on.runner.warm()
    finish(on.runner, [a_sample(on.manifest)])
    finish(on.runner, [a_sample(on.manifest, index) for index in range(3)])
    for session in on.sessions:
        captured = {run for run in session.runs if run[0] != -1}
        assert sorted(number for number, _ in captured) == [1, 2]  # from either state to the other
        assert len({binding for _, binding in captured}) == 2


def test_every_graph_is_captured_before_the_first_sample_comes(toy_on_device: Put) -> None:
    on = toy_on_device(2, 3)
    on.runner.warm()
    for session in on.sessions:
        numbers = [number for number, _ in session.runs]
        assert min(numbers.count(1), numbers.count(2)) > 3  # two runs, the capture, a replay


def test_a_model_that_onnxruntime_refuses_to_capture_is_drawn_without_capture(
    toy_on_device: Put, toy: tuple[Any, Any]
) -> None:
    def refuse(session: Watched) -> None:
        if session.captures:
            raise RepositoryDamaged("onnxruntime cannot open it: not all nodes are on the GPU\nwith details")

    with capture_logs() as said:
        on = toy_on_device(2, spoil=refuse)
        on.runner.warm()
    assert [line["event"] for line in said] == ["drawn without CUDA graphs"]
    assert said[0]["reason"].endswith("not all nodes are on the GPU")
    assert_draws_as(on, toy)


def test_a_model_whose_capture_fails_is_drawn_without_capture(
    toy_on_device: Put, toy: tuple[Any, Any]
) -> None:
    def fail_to_capture(session: Watched) -> None:
        def fail(number: int) -> None:
            if number > 0 and len(session.runs) > 8:
                raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")

        session.before_run = fail if session.captures else session.before_run

    with capture_logs() as said:
        on = toy_on_device(2, spoil=fail_to_capture)
        on.runner.warm()
    assert "CUDA failure 900" in said[0]["reason"]
    assert_draws_as(on, toy)


class CopyingBinding:
    """A binding that copies every input when it is bound, as onnxruntime does for nodes on the CPU."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding
        self._iobinding = binding._iobinding
        self._session = binding._session
        self._copies: dict[str, Any] = {}

    def bind_input(
        self, name: str, device: str, number: int, kind: type, shape: tuple[int, ...], address: int
    ) -> None:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        self._copies[name] = copy = np.frombuffer(ctypes.string_at(address, size), dtype=np.uint8).copy()
        self._binding.bind_input(name, device, number, kind, shape, copy.ctypes.data)

    def bind_output(self, *arguments: Any) -> None:
        self._binding.bind_output(*arguments)


def test_a_model_whose_replays_draw_something_else_is_drawn_without_capture(
    toy_on_device: Put, toy: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Watched.io_binding
    monkeypatch.setattr(Watched, "io_binding", lambda session: CopyingBinding(whole(session)))
    with capture_logs() as said:
        on = toy_on_device(2)
        on.runner.warm()
    assert said[0]["reason"] == "replayed kernels draw something else than plain runs"
    assert_draws_as(on, toy)


def assert_draws_as(on: OnDevice, plain: tuple[Any, Any]) -> None:
    """Assert that it draws the same rows, without capture."""
    manifest, runner = plain
    sample = a_sample(manifest)
    finish(on.runner, [sample])
    assert not on.runner.is_captured
    assert {number for number, _ in on.sessions[-1].runs} == {-1}
    assert (pixels_of(sample), sample.log_probability) == drawn_alone(runner, manifest, 0)


def test_warming_refuses_a_model_that_cannot_run(toy_on_device: Put) -> None:
    def break_down(session: Watched) -> None:
        def fail(number: int) -> None:
            raise RuntimeError("out of memory\nwith a second line")

        session.before_run = fail

    with pytest.raises(
        RepositoryDamaged, match=r"toy-pixel-rnn version 1: the GPU cannot run draw_row: out of memory$"
    ):
        toy_on_device(2, spoil=break_down).runner.warm()


def test_a_failure_of_the_device_is_reported_in_one_sentence(toy_on_device: Put) -> None:
    on = toy_on_device(2)
    on.runner.warm()

    def fail(number: int) -> None:
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered\nand more")

    on.sessions[0].before_run = fail
    with pytest.raises(
        DeviceFailed, match=r"gives up its samples and stops: CUDA failure 700: .* encountered$"
    ):
        on.runner.draw_row([a_sample(on.manifest).next_lane(0)])


def test_the_next_tick_does_not_change_the_rows_of_the_last(toy_on_device: Put) -> None:
    on = toy_on_device(1)
    sample = a_sample(on.manifest)
    [row] = on.runner.draw_row([sample.next_lane(0)])
    pixels, log_probabilities = row.pixels.tolist(), row.log_probabilities.tolist()
    on.runner.draw_row([sample.next_lane(0)])
    assert (row.pixels.tolist(), row.log_probabilities.tolist()) == (pixels, log_probabilities)


async def test_an_engine_for_a_gpu_draws_with_the_configured_buckets(
    toy_repository: Path, toy: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def open_on_cpu(model: Model, graph: str, **options: Any) -> onnxruntime.InferenceSession:
        asked.append(options)
        return open_session(model.path(graph), batch=options["batch"])

    def on_cpu(*arguments: Any, **options: Any) -> DeviceRunner:
        return DeviceRunner(*arguments, **options, device="cpu")

    monkeypatch.setattr(engine, "open_graph", open_on_cpu)
    monkeypatch.setattr(engine, "DeviceRunner", on_cpu)
    started = Engine(
        ModelRepository(toy_repository), slots=4, provider=Provider(name="cuda"), gpu_batches=(1, 4)
    )
    await started.load()
    assert [(one["batch"], one["provider"].name, one["cuda_graph"]) for one in asked] == [
        (1, "cuda", True),
        (4, "cuda", True),
    ]
    manifest, plain = toy
    sample = a_sample(manifest)
    for _ in range(manifest.height):
        [row] = await started.draw(tick_of(manifest.digest, sample.next_lane(2)))
        assert isinstance(row, Row)
        sample.append(row)
    assert pixels_of(sample) == drawn_alone(plain, manifest, 0)[0]
    started.close()


def tick_of(digest: str, lane: Lane) -> Tick:
    return Tick(digest, (), (lane,))
