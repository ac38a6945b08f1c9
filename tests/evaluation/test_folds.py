"""Folds: every image is tested once, variants stay together, and an interrupted run continues."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from evaluation import folds
from evaluation.folds import main
from training.errors import DataRefused

RECIPE = """
family = "{family}"
variant = "{variant}"
[training]
steps = {steps}
batch = 16
validate_every = 2
[network]
"""
TINY = {
    "pixel_rnn": RECIPE.format(family="pixel_rnn", variant="lecture", steps=4)
    + "embedding = 4\nhidden = 8\n",
    "vae": RECIPE.format(family="vae", variant="elbo", steps=4) + "latent = 2\nchannels = [4]\nhidden = 8\n",
    "autoencoder": RECIPE.format(family="autoencoder", variant="plain", steps=4) + "latent = 2\nhidden = 8\n",
    "gan": RECIPE.format(family="gan", variant="robust", steps=4),
}


@pytest.fixture
def data(tmp_path):
    """Ninety different images, ten of them twice, in the lecture's format."""
    images = np.random.default_rng(0).integers(0, 4, (90, 16))
    images = np.concatenate([images, images[:10]])
    folder = tmp_path / "scribbles"
    folder.mkdir()
    (folder / "pixel_color.txt").write_text("\n".join(" ".join(map(str, image)) for image in images))
    (folder / "colormap.txt").write_text("0 0 0\n255 0 0\n0 255 0\n255 255 255\n")
    return folder


def run(family, data, tmp_path, *more, recipe=None):
    file = tmp_path / "tiny.toml"
    file.write_text(recipe or TINY[family])
    output = tmp_path / "out"
    arguments = [file, "--data", data, "--folds", 3, "--output", output, "--threads", 1, *more]
    return CliRunner().invoke(main, [str(argument) for argument in arguments]), output / "folds.json"


def groups():
    return np.random.default_rng(0).integers(0, 60, 200)


def test_every_image_is_tested_once_and_no_group_is_divided():
    together = groups()
    splits = folds.divide(together, 5)
    assert sorted(np.concatenate([split.test for split in splits]).tolist()) == list(range(200))
    for split in splits:
        parts = [set(together[part].tolist()) for part in (split.train, split.valid, split.test)]
        assert len(set.union(*parts)) == sum(map(len, parts))
        assert len(split.train) + len(split.valid) + len(split.test) == 200
        assert 35 <= len(split.test) <= 45
        assert 15 <= len(split.valid) <= 20


def test_the_same_groups_are_always_divided_in_the_same_way():
    first, again = folds.divide(groups(), 4), folds.divide(groups(), 4)
    assert all((one.test == other.test).all() for one, other in zip(first, again, strict=True))


def test_too_few_groups_are_refused():
    with pytest.raises(DataRefused, match="4 groups"):
        folds.divide(np.array([0, 0, 1, 2, 3, 3]), 3)


@pytest.mark.parametrize("family", ["pixel_rnn", "vae"])
def test_the_figures_of_all_folds_are_pooled_and_compared_with_counting(family, data, tmp_path):
    result, file = run(family, data, tmp_path)
    assert result.exit_code == 0, result.output
    found = json.loads(file.read_text())
    assert found["images"] == sum(fold["images"] for fold in found["folds"]) == 100
    nats = found["nats_per_image"]["mean"]
    assert nats == pytest.approx(np.average([fold["nats_per_image"]["mean"] for fold in found["folds"]],
                                            weights=[fold["images"] for fold in found["folds"]]), abs=0.02)  # fmt: skip
    assert found["difference"]["mean"] == pytest.approx(nats - found["mixture_with_cache"]["mean"], abs=0.02)
    assert found["verdict"] in ("better", "worse", "undecided")


def test_a_second_run_trains_only_what_is_missing(data, tmp_path):
    _, file = run("pixel_rnn", data, tmp_path)
    first = json.loads(file.read_text())
    checkpoint = tmp_path / "out" / "fold-1" / "checkpoint.pt"
    (tmp_path / "out" / "fold-2" / "checkpoint.pt").unlink()  # as if it had been stopped in the last fold
    again, _ = run("pixel_rnn", data, tmp_path)
    second = json.loads(file.read_text())
    assert again.exit_code == 0, again.output
    assert [fold["nats_per_image"] for fold in second["folds"]] == [
        fold["nats_per_image"] for fold in first["folds"]
    ]
    assert checkpoint.exists()


def test_an_output_folder_with_another_number_of_folds_is_refused(data, tmp_path):
    run("pixel_rnn", data, tmp_path)
    result, _ = run("pixel_rnn", data, tmp_path, "--folds", 4)
    assert result.exit_code == 1
    assert "another division" in result.output


@pytest.mark.parametrize("family", ["gan", "autoencoder"])
def test_a_family_without_a_likelihood_is_refused(family, data, tmp_path):
    result, _ = run(family, data, tmp_path)
    assert result.exit_code == 1
    assert "has no likelihood" in result.output
