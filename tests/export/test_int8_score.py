"""`score` made of `draw_row`: close to the exported `score`, and the same bits in every batch."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from evaluation import drawing
from evaluation.graphs import Graphs
from export import graphs, int8_score
from export.errors import ExportRefused
from smalti.runtime.repository import ModelRepository
from smalti.runtime.session import open_session

SHIPPED = Path(__file__).parents[2] / "model_repository"


@pytest.fixture(scope="module", params=["digits-pixel-rnn-lecture", "digits-pixel-rnn"])
def model(request):
    return ModelRepository(SHIPPED).load(request.param)


@pytest.fixture(scope="module")
def score(model, tmp_path_factory):
    manifest, folder = model.manifest, tmp_path_factory.mktemp("score")
    made = int8_score.score_graph(
        onnx.load(model.path("draw_row")), manifest.states, height=manifest.height, width=manifest.width
    )
    assert graphs.save({"score": made}, folder)["score"] == manifest.graph("score")
    session = open_session(folder / "score.onnx")
    return lambda pixels: session.run(["logp"], {"pixels": pixels})[0]


def images(model, count):
    shape = (count, model.manifest.height, model.manifest.width)
    return np.random.default_rng(0).integers(0, len(model.manifest.palette), shape)


def test_the_score_is_close_to_that_of_the_exported_graph(model, score):
    exported = Graphs(model, threads=1)
    pixels = np.concatenate([images(model, 4), drawing.draw(exported, 12, 3)])
    [expected] = exported.run("score", {"pixels": pixels}, ["logp"])
    assert np.abs(score(pixels) - expected).max() < 1e-4


def test_the_score_of_an_image_does_not_depend_on_the_batch(model, score):
    pixels = images(model, 9)
    together = score(pixels)
    for size in (1, 2, 5):
        assert (score(pixels[:size]) == together[:size]).all()


def test_a_forced_row_has_no_nodes_of_drawing(model):
    manifest = model.manifest
    outputs = [state.output for state in manifest.states]
    row = int8_score.forced_row(onnx.load(model.path("draw_row")), outputs, manifest.width)
    kinds = {node.op_type for node in row.graph.node}
    assert not {"uniform", "temperature"} & {value.name for value in row.graph.input}
    assert not kinds & {"Less", "Exp", "Div"}
    assert [value.name for value in row.graph.output] == ["logp", *outputs]


def test_a_graph_with_an_unexpected_number_of_choices_is_refused(model):
    manifest = model.manifest
    with pytest.raises(ExportRefused, match=f"in {manifest.width} places instead of {manifest.width + 1}"):
        int8_score.forced_row(onnx.load(model.path("draw_row")), [], manifest.width + 1)
