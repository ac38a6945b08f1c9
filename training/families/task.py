"""The interface that a family implements, so that the loop can train it."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from training.images import ImageSet, Pixels
from training.recipe import Recipe


class Task(Protocol):
    """A network in training, with its optimisers and its figures.

    The loop seeds torch with (seed, step) before every step, and before the other calls. Take all random numbers from
    torch's global generator: then a resumed training gives the same result as an uninterrupted one.
    """

    unit: str  # of step's and validate's figure, e.g. "nats/image"

    def step(self, images: Tensor, progress: float) -> float:
        """One update by images (batch, height, width) int64; progress runs from 0 to 1.

        Returns the training figure. Raises NotFinite for a loss or gradient that is not finite, before any weight
        changes.
        """
        ...

    def rates(self) -> dict[str, float]:
        """The learning rates by their names in [optimiser]: what a person should lower if the training diverges."""
        ...

    def validate(self, pixels: Pixels) -> float | None:
        """The figure that chooses the best weights, lower is better; None if the newest weights are the best."""
        ...

    def sheet(self, count: int) -> Pixels:
        """Draw images (count, height, width) for people to look at."""
        ...

    def weights(self) -> dict[str, Any]:
        """The weights to export, the average if there is one: a dict of detached copies of tensors."""
        ...

    def use(self, weights: dict[str, Any]) -> None:
        """Load weights that `weights` returned; called before `figures`, and no step follows."""
        ...

    def figures(self, images: ImageSet) -> dict[str, Any]:
        """The test figures for the manifest, in plain values, with baselines."""
        ...

    def headline(self, figures: dict[str, Any]) -> str:
        """The end of the last line printed, after 'test: ', e.g. '548.2 nats/image (80 images)'."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on: tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""
        ...


MakeTask = Callable[[Recipe, ImageSet, torch.device], Task]
