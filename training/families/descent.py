"""Trains one network by gradient descent and averages its weights: what PixelRNN and VAE share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Generic, Literal

import torch
from pydantic import Field
from torch import Tensor

from training import finite
from training.families.averaging import Average, Network, fill_optimiser
from training.families.options import Fraction, NotNegative, Positive, Table
from training.families.schedule import one_cycle


class DescentOptions(Table):
    """The part of a recipe's [optimiser] for gradient descent; each family has its own defaults."""

    learning_rate: Positive  # the highest
    warm_up: Annotated[float, Field(gt=0, lt=1)]  # share of the steps
    weight_decay: NotNegative
    average: Fraction  # decay of the moving average of the weights
    gradient_norm: Positive  # the largest, for the loss in nats per pixel
    # The number format of matrix products in a step, if the machine supports it. Sums, weights and all measurements are
    # float32.
    products: Literal["float32", "bfloat16"] = "float32"


class Descent(Generic[Network]):
    """AdamW (Loshchilov and Hutter, 2019) on a one-cycle schedule; the base of a family's Task."""

    def __init__(
        self, network: Network, chosen: DescentOptions, device: torch.device, *, betas: tuple[float, float]
    ) -> None:
        self.network, self.device, self._chosen = network.to(device), device, chosen
        self.average = Average(self.network, chosen.average)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            betas=betas,
        )

    @property
    def averaged(self) -> Network:
        """The network whose weights are the moving average: it validates, draws and is exported."""
        return self.average.network

    def descend(self, loss: Tensor, progress: float) -> None:
        """One update along the gradient of a scalar loss; raises NotFinite before any weight changes."""
        finite.require(loss, "the loss")
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's backward is untyped
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._chosen.gradient_norm)
        finite.require(norm, "the length of the gradient")
        for group in self.optimiser.param_groups:
            group["lr"] = self._chosen.learning_rate * one_cycle(progress, self._chosen.warm_up)
        self.optimiser.step()
        self.average.update(self.network)

    def rates(self) -> dict[str, float]:
        """The learning rate, and the weight decay if it takes more than the whole weight in one step."""
        chosen = self._chosen
        found = {"learning_rate": chosen.learning_rate}
        decays = chosen.learning_rate * chosen.weight_decay > 1
        return found | ({"weight_decay": chosen.weight_decay} if decays else {})

    @contextmanager
    def rounding(self) -> Iterator[None]:
        """Within this context, matrix products have the recipe's number format."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium" if self._chosen.products == "bfloat16" else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def weights(self) -> dict[str, Any]:
        """The averaged weights."""
        return {name: value.detach().cpu().clone() for name, value in self.averaged.state_dict().items()}

    def use(self, weights: dict[str, Any]) -> None:
        """Load these weights into the averaged network."""
        self.averaged.load_state_dict(weights)

    def state_dict(self) -> dict[str, Any]:
        """Network, average and optimiser."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        fill_optimiser(self.optimiser, state["optimiser"])
