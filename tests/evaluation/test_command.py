"""`python -m evaluation`: measures the digits models that ship with the project."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from evaluation.__main__ import main
from smalti.runtime.repository import ModelRepository
from training.registry import FAMILIES

ROOT = Path(__file__).parents[2] / "model_repository"
EFFORT = ["--samples", "40", "--iwae", "3", "--threads", "1"]
MODELS = {
    "digits-pixel-rnn": ("likelihood", "test_nats_per_image"),
    "digits-vae": ("bound", "test_negative_elbo_nats_per_image"),
    "digits-autoencoder": ("bound", "test_reconstruction_nats_per_image"),
    "digits-gan": ("resemblance", ""),
}
shipped = [name for name in MODELS if name in ModelRepository(ROOT).models()]


def run(*arguments, root=ROOT):
    return CliRunner().invoke(main, [*map(str, arguments), "--repository", str(root), *EFFORT])


@pytest.fixture
def repository(tmp_path):
    """A copy that a test may change."""
    shutil.copytree(ROOT / "digits-gan", tmp_path / "model_repository" / "digits-gan")
    return tmp_path / "model_repository"


@pytest.mark.parametrize("name", shipped)
def test_an_exported_model_has_the_same_figures_as_after_its_training(name, tmp_path):
    result = run(name, "--json", tmp_path / "figures.json", "--plots", tmp_path / "plots")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "figures.json").read_text())
    kind, figure = MODELS[name]
    assert kind in found["figures"]
    assert (found["test_images"], found["drawn_images"], found["seed"]) == (179, 40, 0)
    if figure:
        nats = found["per_image"]["nats"]
        trained = ModelRepository(ROOT).load(name).manifest.figures[figure]
        assert len(nats) == 179
        assert sum(nats) / 179 == pytest.approx(trained, abs=0.3)  # a VAE's noise was another
        assert f"{sum(nats) / 179:.1f} [" in result.stdout
    pictures = {file.name for file in (tmp_path / "plots").iterdir()}
    assert pictures >= {"nearest.png", "pairs.png", "colours.png"}
    assert ("positions.png" in pictures) == (kind == "likelihood")


def test_these_tests_cover_every_family():
    assert {name.removeprefix("digits-").replace("-", "_") for name in MODELS} == set(FAMILIES)


def test_a_pixel_rnn_is_compared_with_counting_and_has_figures_of_completion(tmp_path):
    result = run("digits-pixel-rnn", "--json", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]["likelihood"]
    assert list(figures["baselines"]) == [
        "uniform",
        "colour_frequencies",
        "left",
        "left_up",
        "mixture_with_cache",
    ]
    assert {found["verdict"] for found in figures["baselines"].values()} == {"better"}
    assert "better: zero excluded" in result.stdout
    half, more = (figures["completion"][f"hidden_{part}_percent"] for part in (50, 75))
    assert (half["pixels"], more["pixels"]) == (32, 48)
    assert half["nats_per_image"]["mean"] < more["nats_per_image"]["mean"] < figures["nats_per_image"]["mean"]


def test_save_adds_the_figures_to_the_manifest_and_changes_nothing_else(repository):
    before = ModelRepository(repository).load("digits-gan").manifest
    result = run("digits-gan", "--save", root=repository)
    after = ModelRepository(repository).load("digits-gan").manifest
    assert result.exit_code == 0, result.output
    assert after.evaluation is not None
    assert after.evaluation.figures["resemblance"]["kernel_distance"]["drawn"] > 0
    command = f"python -m evaluation digits-gan --version {after.version} --samples 40 --seed 0"
    assert after.evaluation.command == command
    assert after.model_copy(update={"evaluation": before.evaluation}) == before
    assert after.digest == before.digest


def test_without_save_the_manifest_stays_as_it_is(repository):
    manifest = ModelRepository(repository).load("digits-gan").folder / "manifest.json"
    before = manifest.read_bytes()
    assert run("digits-gan", root=repository).exit_code == 0
    assert manifest.read_bytes() == before


def test_images_that_the_model_was_not_trained_on_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "pixel_color.txt").write_text("0 1 1 0\n" * 200)
    (tmp_path / "colormap.txt").write_text("0 0 0\n255 255 255\n")
    result = run("digits-gan", "--data", tmp_path)
    assert result.exit_code == 1
    [sentence] = [line for line in result.output.splitlines() if not line.startswith("[")]
    assert sentence.startswith("Error: digits-gan was trained on digits")
    assert "--data" in sentence


def test_an_unknown_model_is_refused():
    result = run("digits-cubist")
    assert result.exit_code == 1
    assert "There is no model 'digits-cubist'" in result.output


def test_the_same_seed_gives_the_same_figures(tmp_path):
    found = []
    for number in range(2):
        run("digits-vae", "--json", tmp_path / f"{number}.json")
        found.append(json.loads((tmp_path / f"{number}.json").read_text()))
    assert found[0]["figures"] == found[1]["figures"]
