"""Checkpoints: what is saved is loaded, and anything else is refused."""

import pickle
import random
import re
import resource
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from smalti.runtime.manifest import Data
from training import checkpoint as checkpoints
from training.checkpoint import Best, Checkpoint, Generation, Point
from training.errors import CheckpointNotWritten, CheckpointRefused
from training.recipe import Recipe, TrainingRecipe

RECIPE = Recipe(family="pixel_rnn", variant="lecture", training=TrainingRecipe(steps=3))
BEST = Best(step=2, valid=1.5, weights={"bias": torch.ones(2)})
ABOUT = Data(name="tiles", source="", licence="", digest="0" * 64, images=12)


def a_checkpoint(**changes):
    checkpoint = Checkpoint(
        RECIPE,
        ABOUT,
        palette=("#000000", "#ffffff"),
        height=4,
        width=5,
        step=2,
        task={"weights": torch.arange(4.0)},
        best=BEST,
        curve=(Point(1, 2.0, None), Point(2, 1.0, 1.5)),
    )
    return replace(checkpoint, **changes)


def test_a_saved_checkpoint_is_loaded_unchanged(tmp_path):
    saved = a_checkpoint()
    checkpoints.save(saved, tmp_path / "deep" / "checkpoint.pt")
    loaded = checkpoints.load(tmp_path / "deep" / "checkpoint.pt")
    assert torch.equal(loaded.task["weights"], saved.task["weights"])
    assert loaded.best is not None
    assert torch.equal(loaded.best.weights["bias"], BEST.weights["bias"])
    assert (loaded.recipe, loaded.about, loaded.curve) == (saved.recipe, saved.about, saved.curve)
    assert (loaded.palette, loaded.height, loaded.width, loaded.step) == (saved.palette, 4, 5, 2)
    assert loaded.model == "tiles-pixel-rnn"


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    file = tmp_path / "checkpoint.pt"
    checkpoints.save(a_checkpoint(seconds=1.0), file)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        checkpoints.save(a_checkpoint(seconds=2.0, task={"cannot be pickled": lambda: None}), file)
    assert checkpoints.load(file).seconds == 1
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps({"format": 1}, protocol=2)])
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointRefused, match="cannot be read as a checkpoint"):
        checkpoints.load(tmp_path / "x.pt")


def test_a_truncated_checkpoint_is_refused(tmp_path):
    checkpoints.save(a_checkpoint(), tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:-200])
    with pytest.raises(CheckpointRefused):
        checkpoints.load(tmp_path / "x.pt")


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointRefused, match="There is no checkpoint"):
        checkpoints.load(tmp_path / "x.pt")


def test_a_checkpoint_from_another_format_is_refused(tmp_path):
    torch.save({"format": 99}, tmp_path / "x.pt")
    with pytest.raises(CheckpointRefused, match="format 99"):
        checkpoints.load(tmp_path / "x.pt")


def test_generations_are_saved_and_a_checkpoint_that_lacks_them_is_refused(tmp_path):
    kept = Generation(step=1, seconds=0.5, weights={"bias": torch.zeros(2)}, figures={"steps": 1})
    checkpoints.save(a_checkpoint(generations=(kept,)), tmp_path / "x.pt")
    [loaded] = checkpoints.load(tmp_path / "x.pt").generations
    assert (loaded.step, loaded.seconds, loaded.figures) == (1, 0.5, {"steps": 1})
    assert torch.equal(loaded.weights["bias"], torch.zeros(2))
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    del content["generations"]
    torch.save(content, tmp_path / "y.pt")
    with pytest.raises(CheckpointRefused, match="generations"):
        checkpoints.load(tmp_path / "y.pt")


SPOILT = {"bias": torch.tensor([1.0, torch.nan])}


@pytest.mark.parametrize(
    "changes",
    [
        {"task": SPOILT},
        {"best": replace(BEST, weights=SPOILT)},
        {"generations": (Generation(step=1, seconds=0.5, weights=SPOILT),)},
    ],
)
def test_a_checkpoint_with_weights_that_are_not_numbers_is_refused(tmp_path, changes):
    checkpoints.save(a_checkpoint(**changes), tmp_path / "x.pt")
    with pytest.raises(CheckpointRefused, match="weights that are not numbers"):
        checkpoints.load(tmp_path / "x.pt")


def test_a_full_disk_is_reported_in_one_sentence_and_leaves_the_old_checkpoint(tmp_path):
    file = tmp_path / "checkpoint.pt"
    checkpoints.save(a_checkpoint(seconds=1.0), file)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # no file may grow beyond this
    try:
        with pytest.raises(CheckpointNotWritten, match="cannot be written"):
            checkpoints.save(a_checkpoint(seconds=2.0), file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.load(file).seconds == 1
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_cannot_be_made_is_reported_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointNotWritten, match="cannot be written"):
        checkpoints.save(a_checkpoint(), tmp_path / "file" / "checkpoint.pt")


def test_a_damaged_checkpoint_is_read_or_refused_and_never_crashes(tmp_path):
    file, rng = tmp_path / "x.pt", random.Random(0)
    checkpoints.save(a_checkpoint(), file)
    whole = file.read_bytes()
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        file.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
        with suppress(CheckpointRefused):
            checkpoints.load(file)


def changed(content, path, value):
    """Put a value into a table of tables and lists."""
    *before, last = path
    for part in before:
        content = content[part]
    content[last] = value


WRONG: list[object] = [None, "x", [], {}, -1, float("nan"), True, 10**30]


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (("step",), [*WRONG, 1, 3, 2.0]),
        (("seconds",), WRONG),
        (("pending",), [None, 5, -1, "x", [float("nan")], [1.0]]),
        (("best",), [None, 5, "x", []]),
        (("best", "weights"), [None, 5, {}, {"bias": 5}, {"bias": {}}]),
        (("best", "step"), [*WRONG, 3]),
        (("best", "valid"), ["x", [], float("nan")]),
        (("generations", 0, "weights"), [None, 5, {}]),
        (("generations", 0, "seconds"), WRONG),
        (("generations", 0), [None, 5]),
        (("generations",), [None, 5, {}]),
        (("curve",), [None, 5, [5], []]),
        (("curve", 1, "train"), [None, "x", float("inf")]),
        (("palette",), [None, 5, [], ["#000000"], ["#000000", "red"], ["#000000", 5]]),
        (("height",), [*WRONG, 0, 1]),
        (("width",), [*WRONG, 0]),
        (("figures",), [None, 5, {"nats": float("nan")}, {"nats": torch.ones(1)}, {5: 5}]),
        (("task",), [None, 5, []]),
        (("about",), [None, 5, {}]),
        (("about", "images"), [-1, "x"]),
        (("recipe",), [None, 5, {}]),
        (("recipe", "training", "steps"), [None, 0, "x", 1]),
        (("format",), [None, "1", [], 2]),
    ],
)
def test_a_checkpoint_with_one_wrong_field_is_refused_in_one_plain_sentence(tmp_path, path, values):
    kept = Generation(step=1, seconds=0.5, weights={"bias": torch.zeros(2)})
    checkpoints.save(a_checkpoint(generations=(kept,)), tmp_path / "good.pt")
    for value in values:
        content = torch.load(tmp_path / "good.pt", weights_only=True)
        changed(content, path, value)
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(CheckpointRefused) as refusal:
            checkpoints.load(tmp_path / "x.pt")
        assert not re.search(r"instance|pydantic|Input|valid |Error|\n", str(refusal.value)), refusal.value


@pytest.mark.parametrize("content", [[1, 2], 5, None, "x"])
def test_a_file_of_torch_without_a_table_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointRefused, match="cannot be read as a checkpoint"):
        checkpoints.load(tmp_path / "x.pt")


def test_the_message_about_a_damaged_checkpoint_has_no_words_of_a_library(tmp_path):
    for content in (
        b"",
        b"no checkpoint",
        pickle.dumps({"format": 1}, protocol=2),
        b"PK\x03\x04" + bytes(50),
    ):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(CheckpointRefused) as refusal:
            checkpoints.load(tmp_path / "x.pt")
        assert not re.search(r"Error|PyTorch|Errno|pickle|weights_only", str(refusal.value)), refusal.value
