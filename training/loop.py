"""The training loop of every family: step, validate, keep the best weights, write a checkpoint."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from training import checkpoint as checkpoints
from training import finite, pictures
from training.checkpoint import Best, Checkpoint, Generation, Point
from training.errors import CheckpointRefused, NotFinite, TrainingDiverged
from training.families.task import Task
from training.images import ImageSet
from training.recipe import Recipe, differences

SHEET_IMAGES = 64
_MEASURING = (
    2**32
)  # steps have seeds below it; validation and measuring have seeds above, so they do not change a step


class Reporter(Protocol):
    """Shows a person how the training is going."""

    def stepped(self, step: int, figure: float) -> None:
        """Called after every step."""
        ...

    def validated(self, point: Point, *, better: bool) -> None:
        """Called after every validation."""
        ...


class Loop:
    """One training in one folder, with `checkpoint.pt`, `sheet.png` and `curve.png` in it."""

    def __init__(
        self, task: Task, images: ImageSet, recipe: Recipe, folder: Path, device: torch.device
    ) -> None:
        self.task, self.images, self.recipe, self.folder = task, images, recipe, folder
        self.train = torch.from_numpy(images.train).to(device)
        self.checkpoint = Checkpoint(recipe, images.about, images.palette, images.height, images.width)
        self.figures: list[float] = []  # of the steps since the last validation

    def resume(self) -> int:
        """Continue from the folder's checkpoint, if there is one; returns its step. Raises CheckpointRefused."""
        file = self.folder / checkpoints.FILE
        if file.exists():
            found = checkpoints.load(file)
            if not found.same_training(self.recipe, self.images.about.digest):
                raise CheckpointRefused(self._foreign(found, file))
            self._refuse_other_parts(found, file)
            self._restore(found, file)
            self.checkpoint, self.figures = found, list(found.pending)
        return self.checkpoint.step

    def _foreign(self, found: Checkpoint, file: Path) -> str:
        advice = "give another --output, or --fresh to start again (which deletes the checkpoint)."
        if found.about.digest != self.images.about.digest:
            return f"{file} belongs to another recipe or other images (they differ in the images): {advice}"
        changed = "; ".join(differences(found.recipe, self.recipe))
        return f"{file} belongs to another recipe or other images ({changed}): use its settings again, or {advice}"

    def _refuse_other_parts(self, found: Checkpoint, file: Path) -> None:
        """Raise CheckpointRefused if weights, palette or size do not fit this training."""
        own, images = _shapes(self.task.weights()), self.images
        kept = [each.weights for each in (found.best, *found.generations) if each]
        same_images = (found.palette, found.height, found.width) == (
            images.palette,
            images.height,
            images.width,
        )
        if not same_images or any(_shapes(weights) != own for weights in kept):
            fault = (
                "weights do not fit its recipe"
                if same_images
                else "palette or size is not that of the images"
            )
            raise CheckpointRefused(
                f"{file} is damaged: its {fault}; give another --output, or --fresh to start again."
            )

    def _restore(self, found: Checkpoint, file: Path) -> None:
        try:
            self.task.load_state_dict(found.task)
        except checkpoints.DAMAGE as error:
            raise CheckpointRefused(
                f"{file} does not contain this recipe's network: give another --output, or --fresh to start again."
            ) from error

    def run(self, reporter: Reporter, *, until: Callable[[int], bool] = lambda step: False) -> Checkpoint:
        """Train to the end and measure on the test images, or stop at the step where `until` says so.

        Raises TrainingDiverged; the last checkpoint then stays as it is.
        """
        plan = self.recipe.training
        started = time.monotonic() - self.checkpoint.seconds
        step = self.checkpoint.step
        while step < plan.steps and not self._patience_is_over() and not until(step):
            self.figures.append(self._step(step))
            step += 1
            reporter.stepped(step, self.figures[-1])
            if step % plan.validate_every == 0 or step in (*plan.generations, plan.steps):
                point = self._validate(step, float(np.mean(self.figures)), time.monotonic() - started)
                reporter.validated(
                    point, better=self.checkpoint.best is not None and self.checkpoint.best.step == step
                )
                self.figures = []
        return self._pause(step, time.monotonic() - started) if until(step) else self._finish()

    def _pause(self, step: int, seconds: float) -> Checkpoint:
        """Save the steps since the last validation too, so that no step is repeated."""
        if step > self.checkpoint.step:
            self._require_finite_weights(step)
            self.checkpoint = replace(
                self.checkpoint,
                step=step,
                task=self.task.state_dict(),
                seconds=seconds,
                pending=tuple(self.figures),
            )
            checkpoints.save(self.checkpoint, self.folder / checkpoints.FILE)
        return self.checkpoint

    def _step(self, step: int) -> float:
        # Everything random in a step follows from (seed, step), so no generator's state must be saved.
        torch.manual_seed(_seed(self.recipe.seed, step))
        try:
            figure = self.task.step(self._batch(step), step / self.recipe.training.steps)
            finite.require(figure, "the loss")
        except NotFinite as error:
            raise self._diverged(step + 1, str(error)) from error
        return figure

    def _diverged(self, step: int, what: str) -> TrainingDiverged:
        rates = " or ".join(f"optimiser.{name} (it is {rate:g})" for name, rate in self.task.rates().items())
        kept = (
            f"the checkpoint of step {self.checkpoint.step} is kept in {self.folder}"
            if (self.folder / checkpoints.FILE).exists()
            else "there is no checkpoint yet"
        )
        return TrainingDiverged(
            f"Training stopped at step {step}, because {what}: lower {rates} and start again with --fresh; {kept}."
        )

    def _require_finite_weights(self, step: int) -> None:
        # Weights can be NaN one step before the loss is.
        if not finite.is_finite([self.task.state_dict(), self.task.weights()]):
            raise self._diverged(step, "a weight is no longer a number")

    def _batch(self, step: int) -> Tensor:
        """The step's images: the next ones of an endless stream of all images, in a new order each time round."""
        count, size = len(self.train), self.recipe.training.batch
        positions = np.arange(step * size, (step + 1) * size)
        rounds = {int(turn): _order(self.recipe.seed, int(turn), count) for turn in set(positions // count)}
        chosen = [rounds[int(position // count)][position % count] for position in positions]
        return self.train[torch.tensor(chosen, device=self.train.device)]

    def _validate(self, step: int, train: float, seconds: float) -> Point:
        """Measure on the validation images, write a checkpoint and the curve, and now and then a sheet."""
        self._require_finite_weights(step)
        torch.manual_seed(_seed(self.recipe.seed, _MEASURING))
        point = Point(step, train, self.task.validate(self.images.valid))
        if point.valid is not None and not math.isfinite(point.valid):
            raise self._diverged(step, f"the figure of the validation images is {point.valid}")
        self._require_finite_weights(step)
        self.checkpoint = replace(
            self.checkpoint,
            step=step,
            task=self.task.state_dict(),
            best=self._better(point),
            curve=(*self.checkpoint.curve, point),
            seconds=seconds,
            pending=(),
            generations=(*self.checkpoint.generations, *self._generation(step, seconds)),
        )
        checkpoints.save(self.checkpoint, self.folder / checkpoints.FILE)
        pictures.save_curve(self.checkpoint.curve, self.task.unit, self.folder / "curve.png")
        if step % self.recipe.training.sheet_every < self.recipe.training.validate_every:
            self._draw_sheet()
        return point

    def _better(self, point: Point) -> Best:
        best = self.checkpoint.best
        if best is None or point.valid is None or best.valid is None or point.valid < best.valid:
            return Best(point.step, point.valid, self.task.weights())
        return best

    def _generation(self, step: int, seconds: float) -> tuple[Generation, ...]:
        """The weights of this step, if the recipe keeps them."""
        wanted = step in self.recipe.training.generations
        return (Generation(step, seconds, self.task.weights()),) if wanted else ()

    def _patience_is_over(self) -> bool:
        """Whether the last validations, as many as the recipe's patience, brought nothing better."""
        best, plan = self.checkpoint.best, self.recipe.training
        return best is not None and (self.checkpoint.step - best.step) // plan.validate_every >= plan.patience

    def _finish(self) -> Checkpoint:
        assert self.checkpoint.best is not None, "the last step is validated, so there is a best one"
        generations = tuple(
            replace(generation, figures=self._measure(generation.weights, generation.step))
            for generation in self.checkpoint.generations
        )
        figures = self._measure(self.checkpoint.best.weights, self.checkpoint.best.step)
        self.checkpoint = replace(self.checkpoint, figures=figures, generations=generations)
        self._draw_sheet()
        checkpoints.save(self.checkpoint, self.folder / checkpoints.FILE)
        return self.checkpoint

    def _measure(self, weights: dict[str, Any], step: int) -> dict[str, Any]:
        """The test figures of these weights, which the task keeps."""
        self.task.use(weights)
        torch.manual_seed(_seed(self.recipe.seed, _MEASURING + 1))
        figures = self.task.figures(self.images) | {"steps": step}
        if not finite.is_finite(figures):
            raise self._diverged(step, "a figure of the test images is not a number")
        return figures

    def _draw_sheet(self) -> None:
        torch.manual_seed(_seed(self.recipe.seed, _MEASURING + 2))
        pictures.save_sheet(self.task.sheet(SHEET_IMAGES), self.images.palette, self.folder / "sheet.png")


def _shapes(weights: dict[str, Any]) -> dict[str, Any]:
    """Shape and type of each tensor by name, in tables of any depth."""
    return {
        name: _shapes(value) if isinstance(value, dict) else (value.shape, value.dtype)
        for name, value in weights.items()
    }


def _seed(seed: int, position: int) -> int:
    return int(np.random.SeedSequence([seed, position]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _order(seed: int, turn: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.random.default_rng([seed, turn]).permutation(count)
