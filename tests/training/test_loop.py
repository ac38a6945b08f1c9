"""The loop: seeded, resumable with the same bits, and it keeps the best weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from smalti.runtime.manifest import Data
from tests.training.reporters import Silent
from training import checkpoint as checkpoints
from training import finite
from training.errors import CheckpointRefused, TrainingDiverged
from training.families.loading import make_task
from training.images import ImageSet
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


@pytest.fixture(scope="module")
def images():
    """Images of vertical stripes, which can be learned."""
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


def test_training_lowers_the_figures(images, tmp_path):
    reporter = Silent()
    finished = a_loop(images, tmp_path).run(reporter)
    assert finished.curve[-1].valid < finished.curve[0].valid
    assert finished.figures["test_nats_per_image"] < finished.figures["baselines"]["uniform"]
    assert [point.step for point, _ in reporter.points] == [4, 8, 12, 16, 20, 24]


def test_checkpoint_curve_and_sheet_are_written(images, tmp_path):
    a_loop(images, tmp_path).run(Silent())
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoint.pt", "curve.png", "sheet.png"}


def test_weights_depend_on_the_seed_alone(images, tmp_path):
    one = a_loop(images, tmp_path / "one").run(Silent())
    other = a_loop(images, tmp_path / "other").run(Silent())
    third = a_loop(images, tmp_path / "third", RECIPE.model_copy(update={"seed": 2})).run(Silent())
    assert torch.equal(weights(one), weights(other))
    assert not torch.equal(weights(one), weights(third))


@pytest.mark.parametrize("stop", [8, 10])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(images, tmp_path, stop):
    uninterrupted = a_loop(images, tmp_path / "whole").run(Silent())
    # given a training that was stopped, at a validation or between two
    a_loop(images, tmp_path / "parts").run(Silent(), until=lambda step: step == stop)
    torch.manual_seed(99)  # the new process may have drawn other random numbers
    again = a_loop(images, tmp_path / "parts")
    assert again.resume() == stop
    resumed = again.run(Silent())
    assert torch.equal(weights(resumed), weights(uninterrupted))
    assert resumed.figures == uninterrupted.figures
    assert resumed.curve == uninterrupted.curve


def test_a_killed_training_continues_from_its_last_validation_and_ends_like_an_uninterrupted_one(
    images, tmp_path
):
    class Killing(Silent):
        def stepped(self, step, figure):
            if step == 10:
                raise KeyboardInterrupt

    uninterrupted = a_loop(images, tmp_path / "whole").run(Silent())
    with pytest.raises(KeyboardInterrupt):
        a_loop(images, tmp_path / "parts").run(Killing())
    again = a_loop(images, tmp_path / "parts")
    assert again.resume() == 8
    resumed = again.run(Silent())
    assert torch.equal(weights(resumed), weights(uninterrupted))
    assert resumed.curve == uninterrupted.curve


def test_a_finished_training_is_only_measured_again(images, tmp_path):
    finished = a_loop(images, tmp_path).run(Silent())
    again, reporter = a_loop(images, tmp_path), Silent()
    assert again.resume() == 24
    assert again.run(reporter).figures == finished.figures
    assert reporter.points == []


def test_a_checkpoint_of_another_recipe_or_of_other_images_is_refused(images, tmp_path):
    a_loop(images, tmp_path).run(Silent(), until=lambda step: step == 4)
    changed = RECIPE.model_copy(update={"seed": 2})
    with pytest.raises(CheckpointRefused, match="another recipe or other images"):
        a_loop(images, tmp_path, changed).resume()
    others = replace(images, about=images.about.model_copy(update={"digest": "1" * 64}))
    with pytest.raises(CheckpointRefused, match="another recipe or other images"):
        a_loop(others, tmp_path).resume()


def test_the_best_weights_are_kept_if_later_ones_are_worse(images, tmp_path):
    loop = a_loop(images, tmp_path)
    figures = iter([5.0, 3.0, 4.0, 6.0, 7.0, 8.0])
    loop.task.validate = lambda pixels: next(figures)
    finished = loop.run(Silent())
    assert (finished.best.step, finished.best.valid, finished.figures["steps"]) == (8, 3.0, 8)


def test_training_stops_after_patience_validations_without_a_better_one(images, tmp_path):
    plan = RECIPE.training.model_copy(update={"patience": 2})
    loop = a_loop(images, tmp_path, RECIPE.model_copy(update={"training": plan}))
    figures = iter([5.0, 3.0, 4.0, 6.0, 7.0, 8.0])
    loop.task.validate = lambda pixels: next(figures)
    assert loop.run(Silent()).step == 16


def test_every_image_is_used_once_before_any_is_used_twice(images, tmp_path):
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


def test_generations_are_kept_during_training_and_measured_at_the_end(images, tmp_path):
    finished = a_loop(images, tmp_path, GENERATIONS).run(Silent())
    assert [generation.step for generation in finished.generations] == [1, 6, 12]
    assert [generation.figures["steps"] for generation in finished.generations] == [1, 6, 12]
    nats = [generation.figures["test_nats_per_image"] for generation in finished.generations]
    assert len({*nats, finished.figures["test_nats_per_image"]}) == 4  # each by its own weights
    loaded = checkpoints.load(tmp_path / "checkpoint.pt")
    for kept, restored in zip(finished.generations, loaded.generations, strict=True):
        assert kept.figures == restored.figures
        assert all(torch.equal(value, restored.weights[name]) for name, value in kept.weights.items())


def test_keeping_generations_does_not_change_the_weights(images, tmp_path):
    without = a_loop(images, tmp_path / "without").run(Silent())
    kept = a_loop(images, tmp_path / "kept", GENERATIONS).run(Silent())
    for name, value in without.task["network"].items():
        assert torch.equal(kept.task["network"][name], value), name


def test_generations_survive_an_interruption(images, tmp_path):
    uninterrupted = a_loop(images, tmp_path / "whole", GENERATIONS).run(Silent())
    a_loop(images, tmp_path / "parts", GENERATIONS).run(Silent(), until=lambda step: step == 11)
    again = a_loop(images, tmp_path / "parts", GENERATIONS)
    assert again.resume() == 11  # the generation of step 12 is still to come
    resumed = again.run(Silent())
    assert [generation.step for generation in resumed.generations] == [1, 6, 12]
    for one, other in zip(resumed.generations, uninterrupted.generations, strict=True):
        assert one.figures == other.figures
        assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())


FAMILIES = {
    "lecture": RECIPE,
    "diagonal": RECIPE.model_copy(
        update={"variant": "diagonal", "network": {"layers": 1, "hidden": 4, "features": 4}}
    ),
    "bfloat16": RECIPE.model_copy(update={"optimiser": {"products": "bfloat16"}}),
    "vae": RECIPE.model_copy(
        update={
            "family": "vae",
            "variant": "elbo",
            "network": {"channels": [4], "hidden": 8},
            "optimiser": {},
        }
    ),
    "autoencoder": RECIPE.model_copy(
        update={
            "family": "autoencoder",
            "variant": "plain",
            "network": {"channels": [4], "hidden": 8},
            "optimiser": {},
        }
    ),
    "gan": RECIPE.model_copy(
        update={
            "family": "gan",
            "variant": "robust",
            "network": {"latent": 4, "generator": [8, 4], "discriminator": [4, 8], "pigments": 2},
            "optimiser": {},
        }
    ),
}


def spoilt(loop, at):
    """The loop, changed so that weights become NaN at step `at`."""
    step, count = loop.task.step, iter(range(1, 1000))

    def spoiling(images, progress):
        figure = step(images, progress)
        if next(count) == at:
            network = getattr(loop.task, "network", None) or loop.task.generator
            with torch.no_grad():
                next(network.parameters()).fill_(torch.nan)
        return figure

    loop.task.step = spoiling
    return loop


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_stops_at_the_first_loss_that_is_nan_and_keeps_the_last_checkpoint(
    images, tmp_path, family
):
    recipe = FAMILIES[family]
    with pytest.raises(
        TrainingDiverged, match=r"stopped at step 7, because the .* (is nan|no longer a number)"
    ) as stopped:
        spoilt(a_loop(images, tmp_path, recipe), 6).run(Silent())
    assert "lower optimiser." in str(stopped.value)
    assert f"the checkpoint of step 4 is kept in {tmp_path}" in str(stopped.value)
    again = a_loop(images, tmp_path, recipe)
    assert again.resume() == 4
    assert again.run(Silent()).step == 24  # without the fault, it continues


@pytest.mark.parametrize("family", ["lecture", "vae", "gan"])
def test_weights_that_are_nan_are_never_written_into_a_checkpoint(images, tmp_path, family):
    """Weights can be NaN one step before the loss is, exactly when a checkpoint is due."""
    with pytest.raises(TrainingDiverged, match="step 8, because a weight is no longer a number"):
        spoilt(a_loop(images, tmp_path, FAMILIES[family]), 8).run(Silent())
    assert checkpoints.load(tmp_path / "checkpoint.pt").step == 4


@pytest.mark.parametrize(
    ("family", "rates"),
    [
        ("lecture", {"learning_rate": 1e6}),
        ("diagonal", {"learning_rate": 1e6}),
        ("vae", {"learning_rate": 1e6}),
        ("autoencoder", {"learning_rate": 1e6}),
        ("gan", {"generator_rate": 1e6}),
        ("gan", {"discriminator_rate": 1e6}),
    ],
)
def test_a_learning_rate_that_is_far_too_high_never_leaves_nan_in_a_checkpoint(
    images, tmp_path, family, rates
):
    recipe = FAMILIES[family].model_copy(update={"optimiser": rates})
    message = ""
    try:
        a_loop(images, tmp_path, recipe).run(Silent())
    except TrainingDiverged as error:
        message = str(error)
    [(name, rate)] = rates.items()
    assert not message or f"{name} (it is {rate:g})" in message
    if not message or (tmp_path / "checkpoint.pt").exists():
        kept = checkpoints.load(tmp_path / "checkpoint.pt")
        assert finite.is_finite([kept.task, kept.figures])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_validation_figure_that_is_not_finite_stops_training(images, tmp_path, value):
    loop = a_loop(images, tmp_path)
    figures = iter([5.0, value])
    loop.task.validate = lambda pixels: next(figures)
    with pytest.raises(
        TrainingDiverged, match=f"step 8, because the figure of the validation images is {value}"
    ):
        loop.run(Silent())
    assert checkpoints.load(tmp_path / "checkpoint.pt").step == 4


def test_a_test_figure_that_is_nan_is_not_kept(images, tmp_path):
    loop = a_loop(images, tmp_path)
    loop.task.figures = lambda images: {"baselines": {"uniform": float("nan")}}
    with pytest.raises(TrainingDiverged, match="a figure of the test images is not a number"):
        loop.run(Silent())
    assert checkpoints.load(tmp_path / "checkpoint.pt").figures == {}


def test_a_checkpoint_of_another_network_is_refused_in_one_sentence(images, tmp_path):
    a_loop(images, tmp_path).run(Silent(), until=lambda step: step == 4)
    found = checkpoints.load(tmp_path / "checkpoint.pt")
    checkpoints.save(replace(found, task={"network": {}}), tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointRefused, match="does not contain this recipe's network"):
        a_loop(images, tmp_path).resume()


def test_a_refusal_names_the_settings_that_differ_from_the_checkpoints(images, tmp_path):
    a_loop(images, tmp_path).run(Silent(), until=lambda step: step == 4)
    longer = RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update={"steps": 30})})
    with pytest.raises(CheckpointRefused, match=r"training\.steps is 24 there and 30 here"):
        a_loop(images, tmp_path, longer).resume()


@pytest.mark.parametrize(
    "changes",
    [
        {"palette": ("#000000", "#808080", "#fffffe")},
        {"height": 5},
        {"width": 5},
        {"task": {}},
        {"task": {"network": {}, "average": {}, "optimiser": {}}},
    ],
)
def test_a_checkpoint_that_does_not_fit_its_images_or_recipe_is_refused_before_training(
    images, tmp_path, changes
):
    a_loop(images, tmp_path).run(Silent(), until=lambda step: step == 4)
    found = checkpoints.load(tmp_path / "checkpoint.pt")
    checkpoints.save(replace(found, **changes), tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointRefused, match="--fresh to start again"):
        a_loop(images, tmp_path).resume()


def test_weights_and_an_optimisers_state_of_another_network_are_refused_before_training(images, tmp_path):
    a_loop(images, tmp_path).run(Silent(), until=lambda step: step == 4)
    good = (tmp_path / "checkpoint.pt").read_bytes()

    def spoil_best(content):
        content["best"]["weights"] = {"other": torch.ones(1)}

    def spoil_state(content):
        content["task"]["optimiser"]["state"][0]["exp_avg"] = torch.ones(3)

    def spoil_count(content):
        content["task"]["average"]["count"] = -10

    for spoil in (spoil_best, spoil_state, spoil_count):
        (tmp_path / "checkpoint.pt").write_bytes(good)
        content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        spoil(content)
        torch.save(content, tmp_path / "checkpoint.pt")
        with pytest.raises(CheckpointRefused, match="--fresh to start again"):
            a_loop(images, tmp_path).resume()


def test_a_weight_decay_that_takes_more_than_a_weight_is_named_with_the_learning_rate(images, tmp_path):
    decaying = RECIPE.model_copy(update={"optimiser": {"weight_decay": 1e6, "learning_rate": 1.0}})
    assert a_loop(images, tmp_path, decaying).task.rates() == {"learning_rate": 1.0, "weight_decay": 1e6}
    assert a_loop(images, tmp_path).task.rates() == {"learning_rate": 0.02}
