"""`python -m training`: what it prints, and how it refuses bad input before training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from training import checkpoint as checkpoints
from training import memory
from training import recipe as recipes
from training.__main__ import main
from training.errors import MemoryTooSmall

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


def test_without_data_it_trains_on_the_digits_and_prints_the_test_figure_last(recipe, tmp_path):
    result = run(recipe, "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    lines = result.output.strip().splitlines()
    assert lines[0].startswith(
        "digits-pixel-rnn: 1439 images to train, 179 to validate, 179 to test; 8×8, 17 colours"
    )
    assert "baselines.mixture_with_cache" in result.output
    assert lines[-1].startswith("test: ")
    assert lines[-1].endswith(" nats/image (179 images)")


def test_a_second_run_continues_and_fresh_starts_again(recipe, tmp_path):
    first = run(recipe, "--output", tmp_path / "run")
    again = run(recipe, "--output", tmp_path / "run")
    assert "continues from step 4" in again.output
    assert again.output.splitlines()[-1] == first.output.splitlines()[-1]
    assert "continues from step" not in run(recipe, "--output", tmp_path / "run", "--fresh").output


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("lecture", "cubist"), "There is no PixelRNN variant 'cubist'"),
        (("hidden = 8", "hidden = 0"), r"table \[network\] is wrong at hidden"),
        (("steps = 4", "steps = -4"), "training.steps"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(recipe, tmp_path, change, reason):
    recipe.write_text(RECIPE.replace(*change))
    result = run(recipe, "--output", tmp_path / "run")
    assert result.exit_code == 1
    [sentence] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert reason.replace("\\", "") in sentence
    assert not (tmp_path / "run").exists()


def test_wrong_data_are_refused_before_training(recipe, tmp_path):
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


def errors(result):
    assert result.exit_code == 1, result.output
    [sentence] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    return sentence


def test_options_and_settings_change_the_recipe(recipe, tmp_path):
    result = run(
        *(recipe, "--output", tmp_path / "run", "--steps", 2, "--name", "my-digits"),
        *("--set", "optimiser.learning_rate=1e-3", "--set", "data.source=2015"),
    )
    assert result.exit_code == 0, result.output
    assert result.output.startswith("my-digits: 1439 images to train")
    found = checkpoints.load(tmp_path / "run" / "checkpoint.pt")
    assert (found.step, found.model) == (2, "my-digits")
    assert (found.recipe.optimiser["learning_rate"], found.recipe.data.source) == (1e-3, "2015")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--steps", "0"], "training.steps: must be at least 1, not 0"),
        (["--size", "0"], "data.size"),
        (["--colours", "1"], "data.colours"),
        (["--colours", "1000"], "data.colours"),
        (["--background", "white"], "data.background"),
        (["--name", "Mine!"], "name"),
        (["--set", "optimiser.learning_rate=inf"], "finite number"),
        (["--set", "optimiser.learning_rate=fast"], "learning_rate"),
        (
            ["--set", "network.hiden=3"],
            "(did you mean 'network.hidden'?); known are network.embedding, network.hidden",
        ),
        (["--set", "netwrok.hidden=3"], "(did you mean 'network'?)"),
        (["--set", "training.seed=5"], "there is no 'training.seed' (did you mean 'seed'?)"),
        (["--set", "data.steps=5"], "there is no 'data.steps' (did you mean 'training.steps'?)"),
        (["--set", "network=3"], "there is no 'network'"),
        (["--set", "steps"], "has no value"),
        (["--set", ""], "--set '' has no key: write it as section.key=value"),
        (["--set", "=5"], "--set =5 has no key: write it as section.key=value"),
        (["--set", "network=5"], "because it is a table: its keys are network.embedding, network.hidden"),
        (["--set", "seed=" + "9" * 5000], "seed: must be a whole number"),
        (["--set", "training.generations=" + "[" * 5000], "training.generations: must be a list"),
        (["--set", "network.hidden=true"], "hidden: must be a whole number, not true"),
        (["--set", "network.hidden=99999999"], "hidden: must be at most 4096, not 99999999"),
        (["--size", "8"], "brings its own size, 8×8: leave out --size"),
        (["--background", "#fff"], "nothing in it is transparent: leave out --background"),
        (["--set", "data.colours=17"], "leave out --colours (data.colours)"),
        (["--output", "/dev/null"], "Nothing can be written into /dev/null"),
        (["--output", "/proc/x"], "Nothing can be written into /proc/x"),
        (["--set", "loss.weight=1"], "there is no 'loss.weight'"),
        (["--size", "20"], "brings its own size, 8×8: leave out --size (data.size)"),
        (["--colours", "5"], "brings its own palette of 17 colours: leave out --colours (data.colours)"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence_before_training(recipe, tmp_path, arguments, reason):
    result = run(recipe, "--output", tmp_path / "run", *arguments)
    assert reason in errors(result)
    assert not (tmp_path / "run").exists()


def test_each_recipe_is_listed_on_one_line():
    lines = run("recipes").output.splitlines()
    assert [line.split()[0] for line in lines] == recipes.names()
    assert all(len(line.split()) > 5 for line in lines)


@pytest.mark.parametrize("name", recipes.names())
def test_a_printed_recipe_has_comments_and_equals_the_original_when_saved(name, tmp_path):
    (tmp_path / "mine.toml").write_text(run("recipes", name).output)
    assert "# [training] may also have: " in (tmp_path / "mine.toml").read_text()
    saved = recipes.read(recipes.find(str(tmp_path / "mine.toml"), digits=False))
    assert saved == recipes.read(recipes.find(name, digits=False))


def test_an_unknown_recipe_is_refused_with_a_similar_name_and_the_list():
    for arguments in (["vea"], ["recipes", "vea"]):
        assert "(did you mean 'vae'?): give a .toml file or one of autoencoder" in errors(run(*arguments))


def test_a_paragraph_before_training_says_what_was_read_and_how_many_steps_follow(recipe, tmp_path):
    lines = run(recipe, "--output", tmp_path / "run").output.splitlines()
    assert lines[0].endswith(f"in {tmp_path / 'run'}")
    assert lines[1].startswith("Read 1797 ")
    assert "At most 4 steps of 16 images." in lines[1]


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_ctrl_c_saves_the_last_step_and_says_how_to_continue(recipe, tmp_path):
    """A real process gets a real signal between two validations."""
    recipe.write_text(RECIPE.replace("steps = 4", "steps = 100000").replace("every = 2", "every = 50000"))
    command = [
        sys.executable,
        "-m",
        "training",
        str(recipe),
        "--output",
        str(tmp_path / "run"),
        "--threads",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("Read"):
            assert process.poll() is None
        while not (status := Path(f"/proc/{process.pid}/status").read_text()).count("SigCgt"):
            pass
        while not int(status.split("SigCgt:")[1].split()[0], 16) & 1 << (signal.SIGTERM - 1):
            status = Path(f"/proc/{process.pid}/status").read_text()
        begun = processor_seconds(process.pid)
        while processor_seconds(process.pid) < begun + 2:  # enough for a first step of this network
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "the same command continues from there" in said
    kept = checkpoints.load(tmp_path / "run" / "checkpoint.pt")
    assert kept.step == len(kept.pending) >= 1


def test_fresh_deletes_the_checkpoint_and_nothing_else(recipe, tmp_path):
    run(recipe, "--output", tmp_path)
    (tmp_path / "mine.txt").write_text("kept")
    assert "continues from step" not in run(recipe, "--output", tmp_path, "--fresh").output
    assert (tmp_path / "mine.txt").read_text() == "kept"
    assert recipe.exists()


def test_an_output_that_is_a_file_is_refused_before_training(recipe, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Nothing can be written into" in errors(run(recipe, "--output", tmp_path / "file"))


def test_settings_that_differ_from_the_checkpoints_are_named_with_what_to_do(recipe, tmp_path):
    run(recipe, "--output", tmp_path / "run")
    sentence = errors(run(recipe, "--output", tmp_path / "run", "--steps", 6))
    assert "training.steps is 4 there and 6 here" in sentence
    assert "another --output, or --fresh" in sentence


@pytest.mark.parametrize("option", ["--output", "--data"])
def test_an_empty_path_is_refused_and_does_not_mean_the_current_folder(recipe, tmp_path, option, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(recipe, option, "")
    assert result.exit_code == 2
    assert "it is empty: name a file or folder" in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == [recipe]


def test_the_option_steps_leaves_out_later_generations_and_names_them(recipe, tmp_path):
    recipe.write_text(RECIPE.replace("steps = 4", "steps = 400\ngenerations = [1, 20, 300]"))
    result = run(recipe, "--output", tmp_path / "run", "--steps", 2)
    assert result.exit_code == 0, result.output
    assert "The generations of step 20, 300 are left out" in result.output
    assert [each.step for each in checkpoints.load(tmp_path / "run" / "checkpoint.pt").generations] == [1]


def test_generations_after_the_last_step_are_refused_in_a_plain_sentence(recipe, tmp_path):
    sentence = errors(run(recipe, "--set", "training.generations=[7]"))
    assert "training: generations must rise and end before step 4" in sentence
    assert "{" not in sentence


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_reported_with_what_to_make_smaller(error):
    with pytest.raises(MemoryTooSmall, match="make the network smaller"), memory.enough():
        raise error


def test_an_allocation_larger_than_all_memory_is_reported():
    with pytest.raises(MemoryTooSmall), memory.enough():
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_are_not_reported_as_too_little_memory():
    with pytest.raises(RuntimeError, match="shapes"), memory.enough():
        raise RuntimeError("shapes differ")
