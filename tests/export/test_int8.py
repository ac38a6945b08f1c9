"""The int8 variant: a model of its own with its loss of likelihood, or nothing at all."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evaluation import drawing
from evaluation.graphs import Graphs
from export import int8, quantise
from export.errors import ExportRefused
from smalti.runtime.repository import ModelRepository

SHIPPED = ModelRepository(Path(__file__).parents[2] / "model_repository")
NAME = "digits-pixel-rnn-lecture"


@pytest.fixture(scope="module")
def original():
    return SHIPPED.load(NAME)


@pytest.fixture(scope="module")
def repository(original, tmp_path_factory):
    """A repository with nothing but the variant."""
    root = tmp_path_factory.mktemp("repository")
    int8.export_int8(original, root)
    return ModelRepository(root)


@pytest.fixture(scope="module")
def variant(repository):
    return repository.load(f"{NAME}-int8")


def test_the_variant_has_the_graphs_and_states_of_the_original(original, variant):
    one, other = original.manifest, variant.manifest
    assert other.version == one.version
    assert (other.graphs, other.states, other.palette) == (one.graphs, one.states, one.palette)
    assert other.digest != one.digest


def test_the_manifest_names_the_original_and_the_loss(original, variant):
    cost = variant.manifest.quantisation
    assert (cost.name, cost.version, cost.digest) == (NAME, 1, original.manifest.digest)
    assert -0.002 < cost.lost_nats_per_pixel < 0.002
    assert cost.images == int8.IMAGES
    assert variant.manifest.figures == {}  # those of the original are not its own
    assert variant.manifest.parity.max_difference > 0


def test_the_variant_gives_other_images_about_the_same_likelihood(original, variant):
    pixels = drawing.draw(Graphs(original, threads=1), 200, seed=99)
    expected, found = (
        Graphs(model, threads=1).run("score", {"pixels": pixels}, ["logp"])[0]
        for model in (original, variant)
    )
    assert 0 < np.abs(found - expected).max() < 1
    assert (expected - found).mean() < int8.LARGEST_LOSS


def test_draw_row_and_score_give_the_same_bits(variant):
    graphs, manifest = Graphs(variant, threads=1), variant.manifest
    pixels = drawing.draw(graphs, 5, seed=1)
    [scored] = graphs.run("score", {"pixels": pixels}, ["logp"])
    states = {state.input: np.zeros((5, *state.shape), dtype=state.type) for state in manifest.states}
    for row in range(manifest.height):
        feeds = drawing.row_inputs(row, np.ones((5, manifest.width), dtype=np.float32)) | states
        feeds["forced"] = pixels[:, row]
        outputs = ["logp", *(state.output for state in manifest.states)]
        logp, *after = graphs.run_at_once("draw_row", feeds, outputs)
        states = dict(zip(states, after, strict=True))
        assert (logp == scored[:, row]).all()


def test_the_shipped_variant_can_be_made_again_from_the_shipped_original(variant):
    assert SHIPPED.load(f"{NAME}-int8").manifest.digest == variant.manifest.digest


def test_exporting_the_variant_again_changes_nothing(original, repository, variant):
    int8.export_int8(original, repository.root)
    assert repository.models() == {f"{NAME}-int8": (1,)}
    assert repository.load(f"{NAME}-int8").manifest == variant.manifest


def test_a_variant_that_loses_too_much_is_refused_and_not_written(original, tmp_path, monkeypatch):
    monkeypatch.setattr(quantise, "WEIGHT_LEVELS", 2)
    with pytest.raises(ExportRefused, match=r"would lose 0\.\d+ nats per pixel, more than 0.01"):
        int8.export_int8(original, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["digits-pixel-rnn", "digits-vae"])
def test_models_that_would_not_be_faster_are_refused(name, tmp_path):
    with pytest.raises(ExportRefused, match=f"{name} .* would not be faster as int8"):
        int8.export_int8(SHIPPED.load(name), tmp_path)


def test_a_variant_of_a_variant_is_refused(variant, tmp_path):
    with pytest.raises(ExportRefused, match="is int8 already"):
        int8.export_int8(variant, tmp_path)


def test_the_command_writes_the_variant_and_prints_its_loss(original, tmp_path):
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "1").symlink_to(original.folder)
    result = CliRunner().invoke(int8.main, [NAME, "--repository", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert f"{NAME}-int8/1: loses" in result.output
    manifest = json.loads((tmp_path / f"{NAME}-int8" / "1" / "manifest.json").read_text())
    assert manifest["quantisation"]["name"] == NAME


def test_the_command_refuses_an_unknown_model_in_one_sentence(tmp_path):
    result = CliRunner().invoke(int8.main, ["nothing", "--repository", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: There is no model 'nothing'")
