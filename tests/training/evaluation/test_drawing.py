"""Drawing for the evaluation: the very images that are served."""

import numpy as np
import pytest

from smalti.randomness import uniforms
from smalti.repository import ModelRepository
from smalti.session import open_session
from training.errors import EvaluationRefused
from training.evaluation import drawing
from training.evaluation.graphs import Graphs
from worker.runner import Runner
from worker.slot import Lane, Row


@pytest.fixture
def toy(toy_repository):
    return ModelRepository(toy_repository).load("toy-pixel-rnn")


def worker_draws(model, indices, seed):
    """What a worker draws, row by row."""
    manifest = model.manifest
    runner = Runner(open_session(model.path("draw_row")), manifest, slots=len(indices))
    shape = manifest.height, manifest.width
    numbers = [uniforms(seed, index, 0, shape[0] * shape[1]).reshape(shape) for index in indices]
    free = np.full(shape[1], -1, dtype=np.int64)
    drawn = []
    for row in range(shape[0]):
        rows = runner.draw_row(
            [Lane(slot, row, numbers[slot][row], free, 1.0) for slot in range(len(indices))]
        )
        drawn.append(np.stack([one.pixels for one in rows if isinstance(one, Row)]))
    return np.stack(drawn, axis=1)


def test_a_worker_draws_the_same_samples(toy):
    drawn = drawing.draw(Graphs(toy, threads=1), 5, seed=7)
    assert (drawn == worker_draws(toy, range(5), 7)).all()
    assert len(np.unique(drawn.reshape(5, -1), axis=0)) == 5


def test_samples_do_not_depend_on_how_many_are_drawn_at_once(toy, monkeypatch):
    together = drawing.draw(Graphs(toy, threads=1), 7, seed=1)
    monkeypatch.setattr(drawing, "SLOTS", 3)
    assert (drawing.draw(Graphs(toy, threads=1), 7, seed=1) == together).all()


def test_another_seed_draws_other_samples(toy):
    graphs = Graphs(toy, threads=1)
    assert (drawing.draw(graphs, 4, seed=1) != drawing.draw(graphs, 4, seed=2)).any()


def test_values_that_are_no_numbers_are_refused_rather_than_measured(toy):
    graphs, manifest = Graphs(toy, threads=1), toy.manifest
    inputs = drawing.row_inputs(0, np.full((2, manifest.width), 0.5, dtype=np.float32))
    inputs |= {state.input: np.zeros((2, *state.shape), dtype=state.type) for state in manifest.states}
    inputs["temperature"] = np.full(2, np.nan, dtype=np.float32)
    with pytest.raises(EvaluationRefused, match="gives values that are no numbers"):
        graphs.run_at_once("draw_row", inputs, ["pixels", "logp"])
