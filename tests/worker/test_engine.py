"""The engine loads what can be drawn with, and draws the same bytes however often a sample is interrupted."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from export.register import register
from smalti.errors import ModelNotFound, SampleFailed
from smalti.runtime.manifest import MANIFEST, Manifest
from smalti.runtime.repository import ModelRepository
from tests.conftest import Until
from tests.onnx_files import put, scaled
from tests.toy_model import Toy, write_toy_model
from tests.worker.conftest import Model
from tests.worker.story import SHIPPED, Gate, a_sample, drawn_alone, finish, open_runner, pixels_of
from worker.engine import Engine
from worker.runner import Runner
from worker.sample import Row, Sample
from worker.scheduler import Tick

Start = Callable[..., Engine]


@pytest.fixture
async def engine_on() -> AsyncIterator[Start]:
    """Makes engines, and closes them in the end."""
    engines: list[Engine] = []

    def start(root: Path, **options: Any) -> Engine:
        engines.append(Engine(ModelRepository(root), **{"slots": 8} | options))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def test_a_sample_interrupted_at_any_row_goes_on_with_the_same_bytes(model: Model) -> None:
    manifest, runner = model
    whole, log_probability = drawn_alone(runner, manifest, 5)
    row_bytes = len(whole) // manifest.height
    resumed = [a_sample(manifest, 5, pixels=whole[: rows * row_bytes]) for rows in range(manifest.height + 1)]
    finish(runner, resumed)
    for rows, sample in enumerate(resumed):
        assert whole[: rows * row_bytes] + pixels_of(sample) == whole
        assert sample.log_probability == log_probability


async def test_the_engine_draws_a_tick_of_real_digits(engine_on: Start) -> None:
    engine = engine_on(SHIPPED, models=["digits-pixel-rnn"])
    await engine.load()
    manifest, runner = open_runner(SHIPPED, "digits-pixel-rnn")
    assert engine.digests == [manifest.digest]
    samples = [a_sample(manifest, index) for index in range(3)]
    for _ in range(manifest.height):
        await draw_with(engine, manifest, samples)
    assert [pixels_of(sample) for sample in samples] == [
        drawn_alone(runner, manifest, i)[0] for i in range(3)
    ]


async def test_onnx_files_are_not_even_opened_and_a_manifest_that_comes_later_is_seen(
    engine_on: Start, tmp_path: Path
) -> None:
    put(tmp_path, scaled())
    put(tmp_path, b"not ONNX", name="bad")
    register(put(tmp_path / ".elsewhere", scaled()) / "model.onnx", tmp_path, name="registered")
    toy = write_toy_model(tmp_path)
    manifest = tmp_path / toy.name / "1" / MANIFEST
    content = manifest.read_bytes()
    manifest.unlink()
    engine = engine_on(tmp_path)
    with capture_logs() as logged:
        await engine.load()
    assert engine.digests == []
    assert [entry["place"] for entry in logged if entry["event"] == "left out of the models"] == [
        f"{toy.name}/1"
    ]
    manifest.write_bytes(content)  # when the copy of an export is complete
    await engine.load()
    assert engine.digests == [toy.digest]


async def test_all_versions_are_loaded_also_those_that_come_later(engine_on: Start, tmp_path: Path) -> None:
    first = write_toy_model(tmp_path, Toy(version=1))
    engine = engine_on(tmp_path)
    await engine.load()
    assert engine.digests == [first.digest]
    second = write_toy_model(tmp_path, Toy(version=2))
    await engine.load()
    assert engine.digests == [first.digest, second.digest]


async def test_a_replaced_version_and_its_replacement_are_both_loaded(
    engine_on: Start, tmp_path: Path
) -> None:
    first = write_toy_model(tmp_path, Toy(height=6))
    engine = engine_on(tmp_path)
    await engine.load()
    shutil.rmtree(tmp_path / first.name)
    second = write_toy_model(tmp_path, Toy(height=7))  # given the same version number
    await engine.load()
    assert engine.digests == [first.digest, second.digest]


async def test_only_the_named_models_are_loaded(engine_on: Start, tmp_path: Path) -> None:
    write_toy_model(tmp_path, Toy(name="one"))
    two = write_toy_model(tmp_path, Toy(name="two"))
    engine = engine_on(tmp_path, models=["two"])
    await engine.load()
    assert engine.digests == [two.digest]


async def test_a_damaged_model_is_left_out_until_it_is_repaired(engine_on: Start, tmp_path: Path) -> None:
    good, bad = write_toy_model(tmp_path, Toy(name="good")), write_toy_model(tmp_path, Toy(name="bad"))
    graph = tmp_path / "bad" / "1" / "draw_row.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])  # given a file that is not complete yet
    engine = engine_on(tmp_path)
    await engine.load()
    assert engine.digests == [good.digest]
    graph.write_bytes(whole)
    await engine.load()
    assert engine.digests == [good.digest, bad.digest]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"height":6', '"height":-6'),
        ('"name":"reset"', '"name":"rest"'),
        ('"file":"draw_row.onnx"', '"file":"../../good/1/draw_row.onnx"'),
        ('"version":1', '"version":1,"version":1'),
        ("{", ""),
    ],
)
async def test_a_model_with_a_bad_manifest_is_left_out_with_one_sentence(
    engine_on: Start, tmp_path: Path, before: str, after: str
) -> None:
    good, _ = (write_toy_model(tmp_path, Toy(name=name)) for name in ("good", "bad"))
    manifest = tmp_path / "bad" / "1" / MANIFEST
    manifest.write_text(manifest.read_text().replace(before, after, 1))
    engine = engine_on(tmp_path)
    with capture_logs() as lines:
        for _ in range(3):
            await engine.load()
    told = [line["reason"] for line in lines if line["log_level"] == "error"]
    assert engine.digests == [good.digest]
    assert [reason.split("/")[0] for reason in told] == ["bad"]


async def test_a_model_whose_palette_is_longer_than_its_networks_is_left_out(
    engine_on: Start, tmp_path: Path
) -> None:
    write_toy_model(tmp_path, Toy(explosive=6))
    engine = engine_on(tmp_path)
    await engine.load()
    assert engine.digests == []


async def test_a_model_without_draw_row_is_not_loaded(engine_on: Start, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "digits-vae", tmp_path / "digits-vae")
    engine = engine_on(tmp_path)
    await engine.load()
    with pytest.raises(ModelNotFound, match="There is no PixelRNN in"):
        engine.require()


async def test_a_named_model_that_is_missing_is_an_error(engine_on: Start, toy_repository: Path) -> None:
    engine = engine_on(toy_repository, models=["toy-pixel-rnn", "nothing"])
    await engine.load()
    with pytest.raises(ModelNotFound, match="SMALTI_MODELS names nothing, which is not there; the "):
        engine.require()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits-vae", "which is not a PixelRNN: the server draws with it, a worker cannot; the"),
        ("toy-pixel-rn", r"which is not there \(did you mean toy-pixel-rnn\?\); the"),
        ("broken", "which is left out .*; the"),
        ("x" * 5000, "x{149}…, which is not there; the"),
    ],
)
async def test_the_error_says_why_a_named_model_cannot_be_drawn_and_does_not_offer_it(
    engine_on: Start, toy_repository: Path, name: str, words: str
) -> None:
    shutil.copytree(SHIPPED / "digits-vae", toy_repository / "digits-vae")
    (toy_repository / "broken" / "1").mkdir(parents=True)
    (toy_repository / "broken" / "1" / MANIFEST).write_text("{")
    engine = engine_on(toy_repository, models=["toy-pixel-rnn", name])
    await engine.load()
    with pytest.raises(ModelNotFound, match=f"^SMALTI_MODELS names .*{words}") as raised:
        engine.require()
    assert str(raised.value).endswith(" are toy-pixel-rnn.")


async def test_drawing_goes_on_while_a_new_version_is_loaded_and_warmed(
    engine_on: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_toy_model(tmp_path, Toy(version=1))
    engine = engine_on(tmp_path)
    await engine.load()
    drawn = threading.Event()
    warm = Runner.warm

    def warm_when_drawn(runner: Runner) -> None:
        assert drawn.wait(10), "the engine drew nothing while the new version was warmed"
        warm(runner)

    monkeypatch.setattr(Runner, "warm", warm_when_drawn)
    new = write_toy_model(tmp_path, Toy(version=2))
    loading = asyncio.create_task(engine.load())
    sample = a_sample(manifest)
    for _ in range(manifest.height):
        await draw_with(engine, manifest, [sample])
    drawn.set()
    await loading
    assert engine.digests == [manifest.digest, new.digest]


async def test_a_tick_that_has_not_begun_can_be_recalled(
    engine_on: Start, toy: Model, tmp_path: Path, until: Until
) -> None:
    manifest, runner = toy
    gate = Gate(runner)
    engine = engine_on(tmp_path)
    engine.add(manifest, gate)
    begun, waiting = (engine.draw(tick_of(manifest, [a_sample(manifest)])) for _ in range(2))
    await until(lambda: gate.begun == 1)
    assert not begun.recall()
    assert waiting.recall()
    gate.open()
    [row] = await begun
    assert isinstance(row, Row)
    assert gate.begun == 1


async def test_busy_seconds_shows_how_long_a_tick_takes(
    engine_on: Start, toy: Model, tmp_path: Path, until: Until
) -> None:
    manifest, runner = toy
    gate = Gate(runner)
    engine = engine_on(tmp_path)
    engine.add(manifest, gate)
    task = asyncio.ensure_future(engine.draw(tick_of(manifest, [a_sample(manifest)])))
    await until(lambda: engine.busy_seconds > 0.01)
    gate.open()
    await task
    assert engine.busy_seconds == 0.0


async def test_one_thread_draws_everything(engine_on: Start, toy: Model, tmp_path: Path) -> None:
    manifest, _ = toy
    names: list[str] = []

    class Spy:
        def draw_row(self, lanes: Sequence[Any]) -> list[Any]:
            names.append(threading.current_thread().name)
            return [SampleFailed("no") for _ in lanes]

        def warm(self) -> None: ...

        def apart(self) -> "Spy":
            return self

    engine = engine_on(tmp_path)
    engine.add(manifest, Spy())
    for _ in range(3):
        await engine.draw(tick_of(manifest, [a_sample(manifest)]))
    assert len(set(names)) == 1
    assert names[0] != threading.main_thread().name


def tick_of(manifest: Manifest, samples: Sequence[Sample]) -> Tick:
    lanes = tuple(sample.next_lane(slot) for slot, sample in enumerate(samples))
    return Tick(manifest.digest, tuple(samples), lanes)


async def draw_with(engine: Engine, manifest: Manifest, samples: Sequence[Sample]) -> None:
    rows = await engine.draw(tick_of(manifest, samples))
    for sample, row in zip(samples, rows, strict=True):
        assert not isinstance(row, SampleFailed)
        sample.append(row)
