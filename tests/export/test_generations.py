"""Generations in the model repository: all of a training's generations in order, or none.

All tests but the first write a file of weights in place of graphs, because tracing a graph takes seconds.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from export import __main__ as command
from export import gan as exporter
from export.errors import ExportRefused
from export.generations import export_generations
from export.registry import Exported
from smalti.runtime.manifest import Data, Graph, Parity, Tensor
from smalti.runtime.repository import ModelRepository
from smalti.runtime.session import open_session
from tests.training.reporters import Silent
from training import checkpoint as checkpoints
from training.families.loading import make_task
from training.images import ImageSet
from training.loop import Loop
from training.recipe import Recipe, TrainingRecipe

CPU = torch.device("cpu")
RECIPE = Recipe(
    family="gan",
    variant="lecture",
    model="gan-lecture",
    training=TrainingRecipe(steps=8, batch=8, validate_every=8, generations=(1, 3)),
    network={"latent": 4, "generator": [8, 8], "pigments": 3, "discriminator": [8, 8]},
    optimiser={"average": 0.0, "generator_rate": 0.1},
)


def train(folder, **changes):
    recipe = RECIPE.model_copy(update=changes)
    pixels = np.random.default_rng(0).integers(0, 3, (60, 5, 5))
    about = Data(name="tiles", source="drawn", licence="CC0-1.0", digest="0" * 64, images=60)
    images = ImageSet(about, ("#000000", "#808080", "#ffffff"), pixels[:40], pixels[40:50], pixels[50:])
    torch.manual_seed(recipe.seed)
    return Loop(make_task(recipe, images, CPU), images, recipe, folder, CPU).run(Silent())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished training."""
    folder = tmp_path_factory.mktemp("run")
    train(folder)
    return folder


@pytest.fixture(scope="module")
def finished(run):
    return checkpoints.load(run / "checkpoint.pt")


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A training of the same model with another seed."""
    return train(tmp_path_factory.mktemp("another"), seed=2)


@pytest.fixture
def plain(monkeypatch):
    """Write the weights alone in place of the graphs, which is fast."""

    def write_graphs(checkpoint, folder):
        weights = b"".join(value.numpy().tobytes() for value in checkpoint.best.weights["generator"].values())
        (folder / "generate.onnx").write_bytes(weights)
        pixels = Tensor(name="pixels", type="int64", shape=(-1, 5, 5))
        latent = Tensor(name="latent", type="float32", shape=(-1, 4))
        graph = Graph(file="generate.onnx", inputs=(latent,), outputs=(pixels,))
        parity = Parity(max_difference=0.0, images=64, pixels_equal=True)
        return Exported(graphs={"generate": graph}, parity=parity, latent_size=4)

    monkeypatch.setattr(exporter, "write_graphs", write_graphs)


def digests(root):
    repository = ModelRepository(root)
    return {
        version: repository.load("tiles-gan-lecture", version).manifest.digest
        for version in repository.models().get("tiles-gan-lecture", ())
    }


@pytest.mark.slow
def test_every_generation_becomes_a_version_with_its_own_weights(finished, tmp_path):
    folders = export_generations(finished, tmp_path)
    models = [ModelRepository(tmp_path).load("tiles-gan-lecture", version) for version in (1, 2, 3)]
    assert [model.folder for model in models] == folders
    assert [model.manifest.figures["steps"] for model in models] == [1, 3, 8]
    assert all(model.manifest.parity and model.manifest.parity.pixels_equal for model in models)
    assert len({json.dumps(model.manifest.figures["mean_probability"]) for model in models}) == 3
    real = {"pixels": np.random.default_rng(1).integers(0, 3, (4, 5, 5))}
    judged = [open_session(model.path("discriminate")).run(None, real)[0] for model in models]
    assert not np.array_equal(judged[0], judged[1])
    assert not np.array_equal(judged[1], judged[2])


def test_exporting_again_updates_the_figures_and_not_what_is_drawn(finished, plain, tmp_path):
    export_generations(finished, tmp_path)
    before = digests(tmp_path)
    remeasured = replace(finished, figures=finished.figures | {"note": "measured again"})
    export_generations(remeasured, tmp_path)
    assert digests(tmp_path) == before
    assert list(before) == [1, 2, 3]
    assert ModelRepository(tmp_path).load("tiles-gan-lecture").manifest.figures["note"] == "measured again"


def test_generations_of_two_trainings_are_not_mixed(finished, another, plain, tmp_path):
    export_generations(finished, tmp_path)
    before = digests(tmp_path)
    mixed = replace(another, generations=(finished.generations[0], another.generations[1]))
    with pytest.raises(ExportRefused, match="tiles-gan-lecture/2 exists and computes something else"):
        export_generations(mixed, tmp_path)
    assert digests(tmp_path) == before


def test_no_generation_is_written_if_one_version_belongs_to_another_training(
    finished, another, plain, tmp_path
):
    export_generations(another, tmp_path)
    (tmp_path / "tiles-gan-lecture" / "1").rename(tmp_path / "elsewhere")
    with pytest.raises(ExportRefused, match="exists and computes something else"):
        export_generations(finished, tmp_path)
    assert list(digests(tmp_path)) == [2, 3]


def test_a_repository_with_more_versions_than_generations_is_refused(finished, plain, tmp_path):
    export_generations(finished, tmp_path)
    fewer = replace(finished, generations=finished.generations[:1])
    with pytest.raises(ExportRefused, match="has a version 3, but this training has 2 generations"):
        export_generations(fewer, tmp_path)


def test_the_command_exports_all_generations_and_refuses_version(run, plain, tmp_path):
    arguments = [str(run), "--repository", str(tmp_path)]
    refused = CliRunner().invoke(command.main, [*arguments, "--version", "2"])
    assert refused.exit_code == 1
    assert "This training has 3 generations, which become the versions" in refused.output
    assert digests(tmp_path) == {}
    done = CliRunner().invoke(command.main, arguments)
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.stdout.splitlines()[:3]] == [
        str(tmp_path / "tiles-gan-lecture" / version) for version in "123"
    ]
    assert done.output.splitlines()[-1].endswith(
        "then: smalti draw tiles-gan-lecture --version 3 --count 16 -o tiles-gan-lecture.png"
    )
