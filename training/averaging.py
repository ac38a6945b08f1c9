"""Keeps an exponential moving average of a network's weights, which draws and predicts better than the last ones."""

from typing import cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average:
    """The average of a network over its steps; the first steps count evenly, so that the start is forgotten."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.averaged.eval()

    @property
    def network(self) -> nn.Module:
        """The averaged network, in evaluation mode."""
        return cast(nn.Module, self.averaged.module)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's newest weights."""
        count = int(self.averaged.n_averaged)
        early = min(self.decay, (1 + count) / (10 + count))
        self.averaged.multi_avg_fn = get_ema_multi_avg_fn(early)
        self.averaged.update_parameters(network)
        self.averaged.eval()
