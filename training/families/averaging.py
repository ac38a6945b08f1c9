"""Keeps a moving average of a network's weights, which draws and predicts better than the newest weights."""

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class Average(Generic[Network]):
    """The exponential moving average of a network; the first steps fade faster, so that the start is forgotten."""

    def __init__(self, network: Network, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Add the network's newest weights to the average; integers, such as counters, are copied."""
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        newest = network.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(newest[name], 1 - decay)
            else:
                value.copy_(newest[name])
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        """The average, and the number of its updates."""
        return {"network": self.network.state_dict(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.network.load_state_dict(state["network"])
        self.count = int(state["count"])
        if self.count < 0:
            raise ValueError("the average's number of updates is negative")


def fill_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimiser's saved state, but keep its settings; raises ValueError if the state is of other weights."""
    own = [
        {name: value for name, value in group.items() if name != "params"} for group in optimiser.param_groups
    ]
    optimiser.load_state_dict(state)
    for group, settings in zip(optimiser.param_groups, own, strict=True):
        group.update(settings)
    for parameter, kept in optimiser.state.items():
        if any(value.shape not in (parameter.shape, torch.Size()) for value in kept.values()):
            raise ValueError("the optimiser's state is of other weights")
