"""What a family must provide so that the loop can train it."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from training.images import ImageSet, Pixels
from training.recipe import Recipe


class Task(Protocol):
    """A network in training, with its optimisers, and what is measured of it.

    The loop seeds torch before every step with (seed, step), and before the other calls: draw all randomness from
    torch's global generator, and a resumed training takes the very same way as an undisturbed one.
    """

    unit: str  # of step's and validate's figure, e.g. "nats/image"

    def step(self, images: Tensor, progress: float) -> float:
        """One update by images (batch, height, width) int64; progress runs from 0 to 1.

        Returns the training figure. Raises NotFinite for a loss or gradient that is none, before any weight changes.
        """
        ...

    def rates(self) -> dict[str, float]:
        """The recipe's learning rates by their names in [optimiser]: what to lower when the training diverges."""
        ...

    def validate(self, pixels: Pixels) -> float | None:
        """The figure by which the best weights are chosen, lower is better; None: the newest are the best."""
        ...

    def sheet(self, count: int) -> Pixels:
        """So many images (count, height, width) to look at."""
        ...

    def weights(self) -> dict[str, Any]:
        """What is worth exporting now (an average, if one is kept): a dict of tensors, detached copies."""
        ...

    def use(self, weights: dict[str, Any]) -> None:
        """Continue with weights given by `weights` before: called before `figures`, and nothing is trained after."""
        ...

    def figures(self, images: ImageSet) -> dict[str, Any]:
        """Test figures for the manifest: plain values, with baselines beside them."""
        ...

    def headline(self, figures: dict[str, Any]) -> str:
        """The line printed last, after 'test: ', e.g. '548.2 nats/image (80 images)'."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on: tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        ...


MakeTask = Callable[[Recipe, ImageSet, torch.device], Task]
