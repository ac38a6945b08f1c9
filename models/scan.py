"""The diagonal LSTMs of whole images: one diagonal of cells after another, both directions at once.

Cells are in diagonal order: diagonal after diagonal, each from its top row down. A diagonal is then one slice, and the
cells that it needs from the diagonal before (at the left and above) are slices too; nothing is padded or masked. The
backward pass is written by hand: it uses what the forward pass has kept, and computes each weight's gradient with one
product over all cells (figures: docs/experiments/0005-mnist.md).
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


class Link(NamedTuple):
    """Pairs of neighbouring cells on two diagonals: a slice of the later one, and a slice of the earlier one."""

    later: slice
    earlier: slice


class Diagonal(NamedTuple):
    """The cells of one diagonal, and the cells of the diagonal before that they read."""

    cells: slice
    rows: int
    begins: bool  # its last cell is the first of its row
    first_row: bool  # its first cell has nothing above it
    beside: Link
    above: Link


@dataclass(frozen=True)
class Diagonals:
    """The geometry of an image's diagonals."""

    height: int
    width: int
    device: torch.device

    @cached_property
    def all(self) -> list[Diagonal]:
        """From the upper left corner to the lower right one."""
        found, begin = [], 0
        for step in range(self.height + self.width - 1):
            diagonal = self._diagonal(step, begin)
            found.append(diagonal)
            begin = diagonal.cells.stop
        return found

    def _diagonal(self, step: int, begin: int) -> Diagonal:
        first, first_before = max(0, step - self.width + 1), max(0, step - self.width)  # rows
        rows = min(step, self.height - 1) - first + 1
        begins, first_row = step < self.height, first == 0
        beside = Link(
            slice(0, rows - begins), slice(first - first_before, first - first_before + rows - begins)
        )
        over = first + first_row - 1 - first_before
        above = Link(slice(int(first_row), rows), slice(over, over + rows - first_row))
        return Diagonal(slice(begin, begin + rows), rows, begins, first_row, beside, above)

    @cached_property
    def positions(self) -> Tensor:
        """The position of each cell in the image (row · width + column): (cells,)."""
        at = torch.arange(self.height * self.width)
        row, column = at // self.width, at % self.width
        return torch.argsort((row + column) * self.height + row).to(self.device)

    @cached_property
    def places(self) -> Tensor:
        """The cell at each position: (height · width,)."""
        return torch.argsort(self.positions)

    @cached_property
    def mirror(self) -> Tensor:
        """The cell at the place of each cell in the mirror image: (cells,)."""
        return self.places.reshape(self.height, self.width).flip(1).flatten()[self.positions]

    @cached_property
    def below(self) -> Tensor:
        """The cells below the first row: (cells − width,)."""
        return torch.nonzero(self.positions >= self.width)[:, 0]

    @cached_property
    def mirrored_above(self) -> Tensor:
        """For each cell of `below`, the mirrored cell of the one above it."""
        return self.mirror[self.places[self.positions[self.below] - self.width]]

    def cells(self, images: Tensor) -> Tensor:
        """(batch, height, width, …) → (cells, batch, …)."""
        return images.flatten(1, 2).transpose(0, 1)[self.positions]

    def images(self, cells: Tensor) -> Tensor:
        """(cells, batch, …) → (batch, height, width, …)."""
        return cells[self.places].transpose(0, 1).reshape(-1, self.height, self.width, *cells.shape[2:])


@cache
def diagonals(height: int, width: int, device: torch.device) -> Diagonals:
    """The geometry of images of this size, its indices on this device."""
    return Diagonals(height, width, device)


def scan(
    order: Diagonals,
    seen: Tensor,
    own: Tensor,
    weight: Tensor,
    bias: Tensor,
    recurrent: Tensor,
    start: Tensor,
) -> Tensor:
    """The sum of both directions' hidden states (cells, batch, hidden), the leftward ones shifted one row down.

    Features seen (cells, batch, features) meet weight (2, features, 4·hidden) and bias (2, 4·hidden); own (cells,
    batch, 4·hidden) is added to the leftward gates; recurrent (2, 2·hidden, 4·hidden) from the cell beside, then from
    the one above; start (2, 2, hidden): direction, then hidden state and cell before a row. The rightward direction is
    always first, and gates are in the order input, output, forget, candidate.
    """
    found: Tensor = _Scan.apply(order, seen, own, weight, bias, recurrent, start)  # type: ignore[no-untyped-call]
    return found


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        ctx.run = _Run(*arguments)
        found: Tensor = ctx.run.forward()
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        run, ctx.run = ctx.run, None  # backward overwrites the kept values, so it can run only once
        return None, *run.backward(grad)


class _Run:
    """One pass through all diagonals and back; tensors are (2, cells, batch, …), the leftward half mirrored."""

    def __init__(
        self,
        order: Diagonals,
        seen: Tensor,
        own: Tensor,
        weight: Tensor,
        bias: Tensor,
        recurrent: Tensor,
        start: Tensor,
    ) -> None:
        self.order, self.diagonals, self.size = order, order.all, start.shape[-1]
        self.weight, self.bias, self.recurrent = weight, bias, recurrent
        self.start_hidden, self.start_cell = start[:, :, None, None].unbind(1)  # (2, 1, 1, hidden)
        self.inputs, self.own = torch.stack([seen, seen[order.mirror]]), own[order.mirror]
        self.gates = seen.new_empty(2, *own.shape)
        self.known = seen.new_empty(2, *own.shape[:2], 2 * self.size)  # hidden states beside and above
        self.cell, self.bent, self.hidden = seen.new_empty(3, 2, *own.shape[:2], self.size)
        # bent: tanh of the cell

    def forward(self) -> Tensor:
        """As `scan`."""
        for step, now in enumerate(self.diagonals):
            self._see(step, now)
            self._gate(now)
            gate_in, out, forget, candidate = self._gates(now)
            cell, bent = self.cell[:, now.cells], self.bent[:, now.cells]
            torch.mul(forget, self._cell_beside(step, now), out=cell)
            cell.addcmul_(gate_in, candidate)
            _tanh_(bent.copy_(cell))
            torch.mul(out, bent, out=self.hidden[:, now.cells])
        right, left = self.hidden
        found: Tensor = right.index_add(0, self.order.below, left[self.order.mirrored_above])
        return found

    def _see(self, step: int, now: Diagonal) -> None:
        """Gather the hidden states that the cells of a diagonal read from the one before."""
        known = self.known[:, now.cells]
        if now.begins:
            known[:, -1:, :, : self.size] = self.start_hidden
        if now.first_row:
            known[:, :1, :, self.size :] = 0
        if step:
            before = self.hidden[:, self.diagonals[step - 1].cells]
            known[:, now.beside.later, :, : self.size] = before[:, now.beside.earlier]
            known[:, now.above.later, :, self.size :] = before[:, now.above.earlier]

    def _cell_beside(self, step: int, now: Diagonal) -> Tensor:
        """The cells left of a diagonal's."""
        parts = []
        if step:
            parts.append(self.cell[:, self.diagonals[step - 1].cells][:, now.beside.earlier])
        if now.begins:
            parts.append(self.start_cell.expand(-1, -1, self.cell.shape[2], -1))
        return torch.cat(parts, dim=1)

    def _gate(self, now: Diagonal) -> None:
        """The gates of a diagonal, from what is known."""
        gates = self.gates[:, now.cells].flatten(1, 2)
        torch.baddbmm(self.bias[:, None], self.inputs[:, now.cells].flatten(1, 2), self.weight, out=gates)
        gates.baddbmm_(self.known[:, now.cells].flatten(1, 2), self.recurrent)
        gates[1] += self.own[now.cells].flatten(0, 1)
        gates[..., : 3 * self.size].sigmoid_()
        _tanh_(gates[..., 3 * self.size :])

    def _gates(self, now: Diagonal) -> tuple[Tensor, ...]:
        return torch.split(self.gates[:, now.cells], self.size, dim=-1)

    def backward(self, grad: Tensor) -> tuple[Tensor, ...]:
        """The gradients of all tensors given to `scan`; the gates are overwritten with their gradients."""
        to_inputs, to_start = torch.empty_like(self.inputs), self.start_cell.new_zeros(2, 2, self.size)
        to_cell = torch.zeros_like(self.cell)
        to_hidden = torch.stack([grad, torch.zeros_like(grad)])
        to_hidden[1, self.order.mirrored_above] = grad[self.order.below]
        for step, now in reversed(list(enumerate(self.diagonals))):
            remembered = self._ungate(step, now, to_hidden[:, now.cells], to_cell[:, now.cells])
            gates = self.gates[:, now.cells].flatten(1, 2)
            torch.bmm(gates, self.weight.mT, out=to_inputs[:, now.cells].flatten(1, 2))
            known = torch.bmm(gates, self.recurrent.mT).reshape_as(self.known[:, now.cells])
            if step:
                before = self.diagonals[step - 1].cells
                to_hidden[:, before][:, now.beside.earlier] += known[:, now.beside.later, :, : self.size]
                to_hidden[:, before][:, now.above.earlier] += known[:, now.above.later, :, self.size :]
                to_cell[:, before][:, now.beside.earlier] = remembered[:, now.beside.later]
            if now.begins:
                to_start[:, 0] += known[:, -1, :, : self.size].sum(1)
                to_start[:, 1] += remembered[:, -1].sum(1)
        mirror = self.order.mirror  # the mirror is its own inverse
        to_seen = to_inputs[0] + to_inputs[1][mirror]
        return to_seen, self.gates[1][mirror], *self._to_weights(), to_start

    def _ungate(self, step: int, now: Diagonal, to_hidden: Tensor, to_cell: Tensor) -> Tensor:
        """Replace a diagonal's gates by the gradients of their sums; return the gradient for the cells beside."""
        gate_in, out, forget, candidate = self._gates(now)
        bent = self.bent[:, now.cells]
        to_cell += tanh_backward(to_hidden * out, bent)
        to_sigmoids = (to_cell * candidate, to_hidden * bent, to_cell * self._cell_beside(step, now))
        remembered = to_cell * forget
        to_candidate = tanh_backward(to_cell * gate_in, candidate)
        for gate, to_gate in zip((gate_in, out, forget), to_sigmoids, strict=True):
            gate.copy_(sigmoid_backward(to_gate, gate))
        candidate.copy_(to_candidate)
        return remembered

    def _to_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of weight, bias and recurrent."""
        gates = self.gates.flatten(1, 2)
        inputs, known = self.inputs.flatten(1, 2), self.known.flatten(1, 2)
        return torch.bmm(inputs.mT, gates), gates.sum(1), torch.bmm(known.mT, gates)


def _tanh_(values: Tensor) -> None:
    """tanh in place, computed by the sigmoid: torch's own takes four times as long on a CPU."""
    values.mul_(2).sigmoid_().mul_(2).sub_(1)
