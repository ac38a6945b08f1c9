"""Drawing for the evaluation: the same images as a worker draws."""

from pathlib import Path

import numpy as np
import pytest

from evaluation import drawing
from evaluation.graphs import Graphs
from smalti.randomness import uniforms
from smalti.runtime.repository import ModelRepository
from smalti.runtime.session import open_session
from training.errors import EvaluationRefused
from worker.runner import Runner
from worker.sample import Lane, Row

ROOT = Path(__file__).parents[2] / "model_repository"


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


def test_outputs_that_are_not_numbers_are_refused():
    graphs = Graphs(ModelRepository(ROOT).load("digits-vae"), threads=1)
    latent = np.full((2, graphs.manifest.latent_size), np.nan, dtype=np.float32)
    with pytest.raises(EvaluationRefused, match="gives values that are not numbers"):
        graphs.run("decode", {"latent": latent}, ["logits"])
