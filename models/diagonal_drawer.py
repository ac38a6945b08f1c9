"""How the diagonal PixelRNN (models/diagonal.py) draws: its step path, one row of every slot at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.diagonal_parts import Closing, Ending, Opening, Step, StepBack
from models.diagonal_row import State, assemble_row
from models.diagonal_weights import DiagonalWeights
from models.neighbourhood import REACH


class DiagonalDrawer(nn.Module):
    """DiagonalPixelRNN's step path. Its state (`diagonal_row.State`) does not grow with the height of the image.

    Within a row, values of all columns stand column after column, (width · slots, size), so that one column is one
    piece of memory. `assemble_row` runs the parts; an exporter uses it to place them in a graph.
    """

    def __init__(self, weights: DiagonalWeights) -> None:
        super().__init__()
        self.height, self.width, self.colours = weights.height, weights.width, weights.colours
        self.layers = len(weights.layers)
        self.hidden_size = sum(layer.hidden for layer in weights.layers)  # of all layers together
        self.memory = weights.memory is not None
        self.states = ("recent", "rightward", "leftward", *(("used",) if self.memory else ()))
        with torch.no_grad():
            self.opening = Opening(weights)
            self.step = Step(weights)
            self.closing = Closing(weights)
            self.step_back = StepBack(weights)
            self.ending = Ending(weights)
        self.to(weights.bias.device).eval()

    def fresh(self, slots: int) -> tuple[Tensor, ...]:
        """State tensors for so many slots; `reset` turns them into an initial state."""
        device = self.opening.table.device
        lines = torch.zeros(slots, self.width, self.hidden_size, device=device)
        recent = torch.zeros(slots, REACH, self.width, dtype=torch.int64, device=device)
        used = torch.zeros(slots, self.colours, dtype=torch.int64, device=device) if self.memory else None
        return tuple(State(recent, lines, lines, used).flat())

    def forward(
        self, reset: Tensor, row: Tensor, uniform: Tensor, forced: Tensor, temperature: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """Advance every slot by one row: pixels and log-probabilities (slots, width), then the state after it."""
        return tuple(assemble_row(self, [reset, row, uniform, forced, temperature, *state], self.layers))

    def part(self, name: str, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """The outputs of the part of this name for these inputs."""
        outputs: Sequence[Tensor] = self.get_submodule(name)(*values)
        return outputs

    def cut(self, value: Tensor, axis: int) -> Sequence[Tensor]:
        """The value in pieces, one for each column."""
        return value.chunk(self.width, dim=axis)

    def join(self, pieces: Sequence[Tensor], axis: int) -> Tensor:
        """The pieces of all columns as one value."""
        return torch.cat(list(pieces), dim=axis)
