"""The loop: seeded, resumable to the bit, keeps the best weights, and looks at the test images once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from smalti.repository import Data
from training import checkpoint as checkpoints
from training.data import ImageSet
from training.errors import CheckpointRefused
from training.families import make_task
from training.loop import Loop
from training.recipe import Recipe, TrainingRecipe

CPU = torch.device("cpu")
RECIPE = Recipe(
    family="pixel_rnn",
    variant="lecture",
    training=TrainingRecipe(steps=24, batch=8, validate_every=4, sheet_every=8),
    network={"embedding": 4, "hidden": 8, "dropout": 0.2, "recurrent_dropout": 0.2},
    optimiser={"learning_rate": 0.02, "flip": 0.5, "average": 0.9},
)


class Silent:
    """A reporter that remembers."""

    def __init__(self):
        self.points = []

    def stepped(self, step, figure):
        pass

    def looked(self, point, *, better):
        self.points.append((point, better))


@pytest.fixture(scope="module")
def images():
    """Images of vertical stripes, so that there is something to learn."""
    rng = np.random.default_rng(0)
    stripes = rng.integers(0, 3, (60, 1, 4)).repeat(4, axis=1)
    return ImageSet(
        about=Data(name="stripes", source="", licence="", digest="0" * 64, images=60),
        palette=("#000000", "#808080", "#ffffff"),
        train=stripes[:40],
        valid=stripes[40:50],
        test=stripes[50:],
    )


def a_loop(images, folder, recipe=RECIPE):
    torch.manual_seed(recipe.seed)
    return Loop(make_task(recipe, images, CPU), images, recipe, folder, CPU)


def weights(checkpoint):
    return torch.cat([value.flatten() for value in checkpoint.best.weights.values()])


def test_training_learns(images, tmp_path):
    reporter = Silent()
    finished = a_loop(images, tmp_path).run(reporter)
    assert finished.curve[-1].valid < finished.curve[0].valid
    assert finished.figures["test_nats_per_image"] < finished.figures["baselines"]["uniform"]
    assert [point.step for point, _ in reporter.points] == [4, 8, 12, 16, 20, 24]


def test_pictures_and_checkpoint_are_kept(images, tmp_path):
    a_loop(images, tmp_path).run(Silent())
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint.pt", "curve.png", "sheet.png"}


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(images, tmp_path):
    one = a_loop(images, tmp_path / "one").run(Silent())
    other = a_loop(images, tmp_path / "other").run(Silent())
    third = a_loop(images, tmp_path / "third", RECIPE.model_copy(update={"seed": 2})).run(Silent())
    assert torch.equal(weights(one), weights(other))
    assert not torch.equal(weights(one), weights(third))


@pytest.mark.parametrize("stop", [8, 10])
def test_an_interrupted_training_ends_like_an_undisturbed_one(images, tmp_path, stop):
    undisturbed = a_loop(images, tmp_path / "whole").run(Silent())
    a_loop(images, tmp_path / "parts").run(Silent(), until=lambda step: step == stop)  # given a kill
    torch.manual_seed(99)  # whatever another process drew before
    again = a_loop(images, tmp_path / "parts")
    assert again.resume() == 8
    resumed = again.run(Silent())
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert resumed.figures == undisturbed.figures
    assert resumed.curve == undisturbed.curve


def test_a_finished_training_is_only_measured_again(images, tmp_path):
    finished = a_loop(images, tmp_path).run(Silent())
    again, reporter = a_loop(images, tmp_path), Silent()
    assert again.resume() == 24
    assert again.run(reporter).figures == finished.figures
    assert reporter.points == []


def test_another_recipe_or_other_images_do_not_go_on_from_it(images, tmp_path):
    a_loop(images, tmp_path).run(Silent(), until=lambda step: step == 4)
    changed = RECIPE.model_copy(update={"seed": 2})
    with pytest.raises(CheckpointRefused, match="another recipe or other images"):
        a_loop(images, tmp_path, changed).resume()
    others = replace(images, about=images.about.model_copy(update={"digest": "1" * 64}))
    with pytest.raises(CheckpointRefused, match="another recipe or other images"):
        a_loop(others, tmp_path).resume()


def test_the_best_weights_are_kept_when_training_grows_worse(images, tmp_path):
    loop = a_loop(images, tmp_path)
    figures = iter([5.0, 3.0, 4.0, 6.0, 7.0, 8.0])
    loop.task.validate = lambda pixels: next(figures)
    finished = loop.run(Silent())
    assert (finished.best.step, finished.best.valid, finished.figures["steps"]) == (8, 3.0, 8)


def test_patience_ends_a_training_that_no_longer_improves(images, tmp_path):
    plan = RECIPE.training.model_copy(update={"patience": 2})
    loop = a_loop(images, tmp_path, RECIPE.model_copy(update={"training": plan}))
    figures = iter([5.0, 3.0, 4.0, 6.0, 7.0, 8.0])
    loop.task.validate = lambda pixels: next(figures)
    assert loop.run(Silent()).step == 16


def test_every_image_is_seen_once_before_any_is_seen_twice(images, tmp_path):
    loop = a_loop(images, tmp_path)
    loop.train = torch.arange(40)
    seen = torch.cat([loop._batch(step) for step in range(5)])
    assert sorted(seen.tolist()) == list(range(40))


def test_the_checkpoint_of_a_running_training_has_no_figures(images, tmp_path):
    a_loop(images, tmp_path).run(Silent(), until=lambda step: step == 8)
    assert checkpoints.load(tmp_path / "checkpoint.pt").figures == {}


GENERATIONS = RECIPE.model_copy(
    update={"training": RECIPE.training.model_copy(update={"generations": (1, 6, 12)})}
)


def test_generations_are_kept_on_the_way_and_measured_at_the_end(images, tmp_path):
    finished = a_loop(images, tmp_path, GENERATIONS).run(Silent())
    assert [generation.step for generation in finished.generations] == [1, 6, 12]
    assert [generation.figures["steps"] for generation in finished.generations] == [1, 6, 12]
    nats = [generation.figures["test_nats_per_image"] for generation in finished.generations]
    assert len({*nats, finished.figures["test_nats_per_image"]}) == 4  # each by its own weights
    loaded = checkpoints.load(tmp_path / "checkpoint.pt")
    for kept, restored in zip(finished.generations, loaded.generations, strict=True):
        assert kept.figures == restored.figures
        assert all(torch.equal(value, restored.weights[name]) for name, value in kept.weights.items())


def test_keeping_generations_changes_no_step(images, tmp_path):
    without = a_loop(images, tmp_path / "without").run(Silent())
    kept = a_loop(images, tmp_path / "kept", GENERATIONS).run(Silent())
    for name, value in without.task["network"].items():
        assert torch.equal(kept.task["network"][name], value), name


def test_generations_outlive_a_kill(images, tmp_path):
    undisturbed = a_loop(images, tmp_path / "whole", GENERATIONS).run(Silent())
    a_loop(images, tmp_path / "parts", GENERATIONS).run(Silent(), until=lambda step: step == 11)
    again = a_loop(images, tmp_path / "parts", GENERATIONS)
    assert again.resume() == 8  # the last look; the generation of step 12 is still to come
    resumed = again.run(Silent())
    assert [generation.step for generation in resumed.generations] == [1, 6, 12]
    for one, other in zip(resumed.generations, undisturbed.generations, strict=True):
        assert one.figures == other.figures
        assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())
