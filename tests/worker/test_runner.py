"""One row at a time, with the same bits whatever else is in the batch; a bad sample spoils only itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from smalti.errors import RepositoryDamaged
from smalti.jobs.job import Failed, Finished
from smalti.runtime.manifest import Manifest
from smalti.runtime.repository import ModelRepository
from smalti.runtime.session import open_graph
from tests.toy_model import Toy, write_toy_model
from tests.worker.conftest import Model
from tests.worker.story import a_sample, drawn_alone, finish, keeping, open_runner, pixels_of
from worker.runner import Runner
from worker.sample import Lane, Row, Sample

BAD = 6  # a colour of the toy


@pytest.mark.parametrize("batch", [2, 3, 8, 32])
def test_a_sample_has_the_same_bits_in_any_batch(model: Model, batch: int) -> None:
    manifest, runner = model
    samples = [a_sample(manifest, index) for index in range(batch)]
    finish(runner, samples)
    for index in {0, 1, batch - 1}:
        alone = drawn_alone(runner, manifest, index)
        assert (pixels_of(samples[index]), samples[index].log_probability) == alone


def test_neighbours_at_other_rows_and_temperatures_change_nothing(model: Model) -> None:
    manifest, runner = model
    early = a_sample(manifest, 0)
    finish(runner, [early], rows=3)  # given one that is three rows ahead of its neighbours
    others = [a_sample(manifest, index, temperature=0.3 * index) for index in (1, 2, 3)]
    finish(runner, [early, *others])
    assert pixels_of(early) == drawn_alone(runner, manifest, 0)[0]
    for index, other in zip((1, 2, 3), others, strict=True):
        assert pixels_of(other) == drawn_alone(runner, manifest, index, temperature=0.3 * index)[0]


def test_the_order_of_the_lanes_does_not_matter(model: Model) -> None:
    manifest, runner = model
    lanes = [a_sample(manifest, index).next_lane(slot) for index, slot in enumerate([5, 0, 9])]
    forwards = runner.draw_row(lanes)
    backwards = runner.draw_row(lanes[::-1])[::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert isinstance(one, Row)
        assert isinstance(other, Row)
        assert (one.pixels == other.pixels).all()
        assert (one.log_probabilities == other.log_probabilities).all()


def test_earlier_samples_in_a_slot_do_not_matter(model: Model) -> None:
    manifest, runner = model
    first = drawn_alone(runner, manifest, 0)
    drawn_alone(runner, manifest, 1)  # in the same slot
    assert drawn_alone(runner, manifest, 0) == first


def test_kept_pixels_are_kept_and_the_rest_is_drawn_after_them(model: Model) -> None:
    manifest, runner = model
    kept = {(0, 0): 3, (2, 1): 0, (2, 2): 5}
    pixels, _ = drawn_alone(runner, manifest, 0, kept=keeping(manifest, kept))
    image = np.frombuffer(pixels, dtype=np.uint8).reshape(manifest.height, manifest.width)
    assert {place: image[place] for place in kept} == kept
    assert pixels != drawn_alone(runner, manifest, 0)[0]


def test_nan_fails_only_its_sample_and_does_not_stay_in_the_slot(tmp_path: Path) -> None:
    write_toy_model(tmp_path, Toy(poison=BAD))
    manifest, runner = open_runner(tmp_path, "toy-pixel-rnn")
    samples = [_with(manifest, 0, {}), _with(manifest, 1, {(1, 1): BAD}), _with(manifest, 2, {})]
    finish(runner, samples)
    assert [type(sample.outcome) for sample in samples] == [Finished, Failed, Finished]
    assert samples[1].drawn == 1  # the row before is the last that was kept
    successors = [a_sample(manifest, index) for index in (3, 4, 5)]  # when others get the same slots
    finish(runner, successors)
    for index, sample in [(0, samples[0]), (2, samples[2]), (3, successors[0]), (4, successors[1])]:
        assert pixels_of(sample) == drawn_alone(runner, manifest, index)[0]


def test_a_sample_that_makes_onnxruntime_refuse_the_batch_fails_alone(tmp_path: Path) -> None:
    write_toy_model(tmp_path, Toy(explosive=BAD))
    manifest, runner = open_runner(tmp_path, "toy-pixel-rnn", slots=4)
    samples = [_with(manifest, 0, {}), _with(manifest, 1, {(2, 0): BAD}), _with(manifest, 2, {})]
    finish(runner, samples)
    assert isinstance(samples[1].outcome, Failed)
    assert samples[1].outcome.error.startswith("onnxruntime could not draw row 2: ")
    for index in (0, 2):
        assert pixels_of(samples[index]) == drawn_alone(runner, manifest, index)[0]


def test_only_occupied_slots_are_run(toy: Model) -> None:
    manifest, _ = toy
    session = Recorder()
    Runner(session, manifest, slots=16).draw_row([_lane(manifest, 3), _lane(manifest, 9)])
    assert session.batches == [2]


def test_warming_refuses_a_graph_that_cannot_run(toy: Model) -> None:
    manifest, _ = toy
    with pytest.raises(
        RepositoryDamaged, match="toy-pixel-rnn version 1: onnxruntime cannot run draw_row: broken"
    ):
        Runner(Broken(), manifest, slots=2).warm()


class Recorder:
    """A session that remembers how large its batches were."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, output_names: Sequence[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        self.batches.append(len(feeds["row"]))
        return [feeds["forced"], feeds["uniform"], feeds["hash"], feeds["taint"]]


class Broken:
    """A session that cannot run."""

    def run(self, output_names: Sequence[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        raise RuntimeError("broken\nwith a second line")


def _with(manifest: Manifest, index: int, kept: dict[tuple[int, int], int]) -> Sample:
    return a_sample(manifest, index, kept=keeping(manifest, kept))


def _lane(manifest: Manifest, slot: int) -> Lane:
    return a_sample(manifest).next_lane(slot)


@pytest.mark.parametrize(
    "name", ["digits-pixel-rnn", "digits-pixel-rnn-lecture-int8", "mnist-static-pixel-rnn"]
)
def test_warming_refuses_a_palette_that_is_shorter_than_the_networks(
    name: str,
) -> None:
    model = ModelRepository(Path(__file__).parents[2] / "model_repository").load(name)
    session, manifest = open_graph(model, "draw_row"), model.manifest
    Runner(session, manifest, slots=2).warm()
    short = manifest.model_copy(update={"palette": manifest.palette[:-1]})
    with pytest.raises(RepositoryDamaged, match=f"drew colour {len(manifest.palette)}, and its palette has"):
        Runner(session, short, slots=2).warm()
