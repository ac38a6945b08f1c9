"""A VAE beside an auto-encoder: figures of the digits' models, and the picture."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from evaluation import between, contrast
from evaluation.contrast import PLACES
from evaluation.graphs import Graphs
from evaluation.images import load
from smalti.runtime.repository import ModelRepository
from training.errors import EvaluationRefused

ROOT = Path(__file__).parents[2] / "model_repository"
MODELS = ("digits-vae", "digits-autoencoder")


def opened(*names):
    return [Graphs(ModelRepository(ROOT).load(name), threads=1) for name in names]


@pytest.fixture(scope="module")
def digits():
    return load(ModelRepository(ROOT).load(MODELS[0]).manifest, None)


@pytest.fixture(scope="module")
def found(digits):
    return contrast.measure(opened(*MODELS), digits, seed=0, count=200, steps=3, drawn=4)


def run(*arguments):
    return CliRunner().invoke(between.main, ["--repository", str(ROOT), *map(str, arguments)])


def test_from_normal_latents_the_vae_decodes_images_and_the_auto_encoder_does_not(found):
    vae, plain = (model.likeness["prior"] for model in found.models)
    assert plain.distance > 10 * vae.distance
    assert plain.density < vae.density / 2


def test_latents_of_images_decode_to_better_images_than_latents_between_them(found):
    for model in found.models:
        assert model.likeness["images"].distance < model.likeness["between"].distance
        assert model.likeness["images"].density > model.likeness["between"].density


def test_a_plane_has_reconstructions_of_the_four_images_at_its_corners(found):
    for graphs, model in zip(opened(*MODELS), found.models, strict=True):
        rebuilt = contrast.decode(graphs, contrast.encode(graphs, found.corners))
        assert (model.plane[[0, 2, 6, 8]] == rebuilt).all()


def test_every_place_and_the_real_images_have_figures(found):
    figures = found.figures()
    assert figures["models"].keys() == set(MODELS)
    for name in MODELS:
        assert figures["models"][name]["decoded_from"].keys() == PLACES.keys()
    assert figures["real_images"]["kernel_distance"] < 60
    assert figures["test_images"] == 179


def test_the_same_seed_gives_the_same_figures(found, digits):
    again = contrast.measure(opened(*MODELS), digits, seed=0, count=200, steps=3, drawn=4)
    assert again.figures() == found.figures()


def test_the_command_prints_the_figures_and_writes_the_picture(tmp_path):
    file = tmp_path / "new" / "contrast.png"
    result = run(*MODELS, "--count", 20, "--steps", 2, "--json", "--output", file)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["models"].keys() == set(MODELS)
    with Image.open(file) as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_the_table_names_places_and_models():
    result = run(*MODELS, "--count", 20, "--steps", 2)
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in (*MODELS, "N(0, 1)", "real images"))


def test_a_model_without_encoder_is_refused(digits):
    with pytest.raises(EvaluationRefused, match="digits-gan is a gan and has no encoder"):
        contrast.measure(opened("digits-gan"), digits, seed=0, count=20, steps=2, drawn=4)


def test_a_model_of_other_images_is_refused(digits):
    with pytest.raises(EvaluationRefused, match="sprites-vae was trained on other images"):
        contrast.measure(opened("sprites-vae"), digits, seed=0, count=20, steps=2, drawn=4)
