"""Writing into the model repository: whole versions or nothing, and no version is overwritten by another.

All tests but the first two write a file of weights in place of graphs, because tracing a graph takes seconds.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from evaluation.saving import save_in_manifest
from export import pixel_rnn as exporter
from export import writing
from export.__main__ import main
from export.errors import ExportRefused
from export.parity import Comparison
from export.registry import EXPORTERS, Exported
from export.writing import export
from models.pixel_rnn import LecturePixelRNN
from smalti.runtime.manifest import Data, Evaluation, Graph, Parity
from smalti.runtime.repository import ModelRepository
from tests.toy_model import Toy
from tests.training.reporters import Silent
from training import checkpoint as checkpoints
from training.errors import CheckpointRefused
from training.families.loading import make_task
from training.images import ImageSet
from training.loop import Loop
from training.recipe import Recipe, TrainingRecipe
from training.registry import FAMILIES

CPU = torch.device("cpu")
RECIPE = Recipe(
    family="pixel_rnn",
    variant="lecture",
    training=TrainingRecipe(steps=4, batch=4, validate_every=2),
    network={"embedding": 4, "hidden": 8},
)


def train(folder, recipe=RECIPE, until=lambda step: False):
    pixels = np.random.default_rng(0).integers(0, 3, (24, 3, 4))
    about = Data(name="tiles", source="drawn", licence="CC0-1.0", digest="0" * 64, images=24)
    images = ImageSet(about, ("#000000", "#808080", "#ffffff"), pixels[:16], pixels[16:20], pixels[20:])
    torch.manual_seed(recipe.seed)
    return Loop(make_task(recipe, images, CPU), images, recipe, folder, CPU).run(Silent(), until=until)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A training that has finished."""
    return train(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def plain(monkeypatch):
    """Write the weights alone in place of the graphs, which is fast."""

    def write_graphs(checkpoint, folder):
        weights = b"".join(value.numpy().tobytes() for value in checkpoint.best.weights.values())
        (folder / "draw_row.onnx").write_bytes(weights)
        toy = Toy(width=4)
        graph = Graph(file="draw_row.onnx", inputs=toy.inputs, outputs=toy.outputs)
        parity = Parity(max_difference=0.0, images=64, pixels_equal=True)
        return Exported(graphs={"draw_row": graph}, parity=parity, states=toy.states)

    monkeypatch.setattr(exporter, "write_graphs", write_graphs)


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A training of the same model with another seed."""
    return train(tmp_path_factory.mktemp("another"), RECIPE.model_copy(update={"seed": 2}))


def test_an_export_can_be_loaded_names_its_source_and_is_recognised_by_its_weights(
    finished, another, tmp_path
):
    folder = export(finished, tmp_path)
    model = ModelRepository(tmp_path).load("tiles-pixel-rnn")
    manifest = model.manifest
    assert folder == tmp_path / "tiles-pixel-rnn" / "1"
    assert (manifest.family, manifest.variant, manifest.height, manifest.width) == (
        "pixel_rnn",
        "lecture",
        3,
        4,
    )
    assert manifest.data.licence == "CC0-1.0"
    assert manifest.figures["baselines"]["uniform"] == pytest.approx(12 * np.log(3), abs=0.01)
    assert [(state.input, state.output, state.shape) for state in manifest.states] == [
        ("hidden", "hidden_out", (8,)),
        ("cell", "cell_out", (8,)),
        ("last", "last_out", ()),
    ]
    assert {file.name for file in folder.iterdir()} == {*manifest.files, "manifest.json"}
    assert writing._has_a_weight(folder, manifest, finished)
    assert not writing._has_a_weight(folder, manifest, another)


def test_a_wrong_export_leaves_nothing_behind(finished, tmp_path, monkeypatch):
    network = exporter.restore(finished)
    assert isinstance(network, LecturePixelRNN)
    with torch.no_grad():
        network.head.bias.add_(torch.tensor([0.0, 0.01, 0.0]))
    right = exporter.score_graph
    monkeypatch.setattr(exporter, "score_graph", lambda _, drawer: right(network, network.drawer()))
    with pytest.raises(ExportRefused, match="differ from the network"):
        export(finished, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_export_leaves_no_temporary_files(finished, plain, tmp_path):
    export(finished, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiles-pixel-rnn"]


def test_an_export_gets_the_next_free_version(finished, another, plain, tmp_path):
    export(finished, tmp_path)
    assert export(another, tmp_path).name == "2"
    assert ModelRepository(tmp_path).models() == {"tiles-pixel-rnn": (1, 2)}


def test_a_version_that_draws_something_else_is_not_overwritten(finished, another, plain, tmp_path):
    folder = export(finished, tmp_path)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(ExportRefused, match="exists and computes something else"):
        export(another, tmp_path, version=1)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_an_export_over_other_weights_is_refused_before_any_graph_is_written(
    finished, another, plain, tmp_path, monkeypatch
):
    export(finished, tmp_path)
    monkeypatch.setattr(exporter, "write_graphs", None)
    with pytest.raises(
        ExportRefused, match=r"exists and computes something else: .* remove that folder first"
    ):
        export(another, tmp_path, version=1)


def test_the_same_model_may_be_exported_again_with_newer_figures(finished, plain, tmp_path):
    export(finished, tmp_path)
    remeasured = replace(finished, figures=finished.figures | {"note": "measured again"})
    folder = export(remeasured, tmp_path, version=1)
    assert ModelRepository(tmp_path).load("tiles-pixel-rnn").manifest.figures["note"] == "measured again"
    assert not list(folder.glob(".*"))


def test_exporting_again_keeps_the_evaluation(finished, plain, tmp_path):
    export(finished, tmp_path)
    measured = Evaluation(
        command="python -m …", date="2026-01-01", seed=0, test_images=4, drawn_images=20, figures={"x": 1.0}
    )
    save_in_manifest(ModelRepository(tmp_path).load("tiles-pixel-rnn"), measured)
    remeasured = replace(finished, figures=finished.figures | {"note": "measured again"})
    export(remeasured, tmp_path, version=1)
    manifest = ModelRepository(tmp_path).load("tiles-pixel-rnn").manifest
    assert manifest.evaluation == measured
    assert manifest.figures["note"] == "measured again"


def test_an_unfinished_training_is_not_exported(tmp_path):
    unfinished = train(tmp_path / "run", until=lambda step: step == 2)
    with pytest.raises(ExportRefused, match="has not finished"):
        export(unfinished, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def test_every_family_that_can_be_trained_can_be_exported():
    assert EXPORTERS.keys() == FAMILIES.keys()


def test_an_export_says_what_to_do_next(finished, plain, tmp_path):
    folder = export(finished, tmp_path)
    assert writing.what_next(folder) == (
        f"A server and workers that run with SMALTI_MODEL_REPOSITORY={tmp_path} serve it within seconds; "
        "then: smalti submit tiles-pixel-rnn --version 1 --count 16 --watch"
    )


def test_a_repository_that_cannot_be_written_to_is_refused_in_one_sentence(finished, plain, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExportRefused, match=r"file cannot be written: "):
        export(finished, tmp_path / "file")


def test_a_network_with_weights_that_are_not_numbers_is_not_exported(finished, plain, tmp_path):
    weights = {name: torch.full_like(value, torch.nan) for name, value in finished.best.weights.items()}
    spoilt = replace(finished, best=replace(finished.best, weights=weights))
    with pytest.raises(ExportRefused, match="weights that are not numbers"):
        export(spoilt, tmp_path)
    assert not list(tmp_path.glob("*/*"))


@pytest.mark.parametrize("weights", [{}, {"bias": torch.ones(2)}, {"embedding.weight": torch.ones(1)}])
def test_weights_of_another_network_are_refused_in_one_sentence(finished, tmp_path, weights):
    with pytest.raises(CheckpointRefused, match="do not fit the network of its recipe"):
        export(replace(finished, best=replace(finished.best, weights=weights)), tmp_path)


def test_the_command_names_its_stages_and_refuses_a_damaged_checkpoint(finished, plain, tmp_path):
    checkpoints.save(finished, tmp_path / "run" / "checkpoint.pt")
    arguments = [str(tmp_path / "run"), "--repository", str(tmp_path / "models")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "reading " in result.stderr
    assert "tiles-pixel-rnn version 1: writing its graphs and comparing them with torch" in result.stderr
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"PK damaged")
    damaged = CliRunner().invoke(main, arguments)
    assert damaged.exit_code == 1
    assert "cannot be read as a checkpoint" in damaged.stderr.splitlines()[-1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parity_fails_if_both_sides_are_not_numbers(value):
    comparison = Comparison()
    comparison.add(np.full(3, value, dtype=np.float32), torch.full((3,), float(value)))
    with pytest.raises(ExportRefused, match="nothing was exported"):
        comparison.verdict(3)
