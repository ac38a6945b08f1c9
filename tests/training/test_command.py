"""`python -m training`: what a person sees, and what is said of bad input before any training."""

import pytest
from click.testing import CliRunner

from training.__main__ import main

RECIPE = """
family = "pixel_rnn"
variant = "lecture"
[network]
embedding = 4
hidden = 8
[training]
steps = 4
batch = 16
validate_every = 2
"""


@pytest.fixture
def recipe(tmp_path):
    """A recipe of four steps."""
    file = tmp_path / "tiny.toml"
    file.write_text(RECIPE)
    return file


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_digits_are_trained_on_without_data_and_the_figure_is_the_last_line(recipe, tmp_path):
    result = run(recipe, "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    lines = result.output.strip().splitlines()
    assert lines[0].startswith(
        "digits-pixel-rnn: 1439 images to train, 179 to validate, 179 to test; 8×8, 17 colours"
    )
    assert "baselines.mixture_with_cache" in result.output
    assert lines[-1].startswith("test: ")
    assert lines[-1].endswith(" nats/image (179 images)")


def test_a_second_run_goes_on_and_fresh_begins_anew(recipe, tmp_path):
    first = run(recipe, "--output", tmp_path / "run")
    again = run(recipe, "--output", tmp_path / "run")
    assert "goes on from step 4" in again.output
    assert again.output.splitlines()[-1] == first.output.splitlines()[-1]
    assert "goes on" not in run(recipe, "--output", tmp_path / "run", "--fresh").output


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("lecture", "cubist"), "There is no PixelRNN variant 'cubist'"),
        (("hidden = 8", "hidden = 0"), r"table \[network\] is wrong at hidden"),
        (("steps = 4", "steps = -4"), "training.steps"),
    ],
)
def test_a_wrong_recipe_is_told_in_one_sentence(recipe, tmp_path, change, reason):
    recipe.write_text(RECIPE.replace(*change))
    result = run(recipe, "--output", tmp_path / "run")
    assert result.exit_code == 1
    [sentence] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert reason.replace("\\", "") in sentence
    assert not (tmp_path / "run").exists()


def test_wrong_data_are_told_before_training(recipe, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(recipe, "--data", tmp_path / "empty", "--output", tmp_path / "run")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "holds no picture" in result.output
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_recipe_is_not_overwritten(recipe, tmp_path):
    run(recipe, "--output", tmp_path / "run")
    recipe.write_text("seed = 5\n" + RECIPE)
    result = run(recipe, "--output", tmp_path / "run")
    assert result.exit_code == 1
    assert "belongs to another recipe" in result.output
