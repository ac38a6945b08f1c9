"""The diagonal scan: cells in diagonal order, the paper's recurrence, and its gradients."""

import pytest
import torch
from torch import Tensor

from models.scan import Diagonals, diagonals, scan

SIZES = [
    (5, 7),
    (7, 5),
    (4, 4),
    (1, 3),
    (3, 1),
    (1, 1),
]  # higher than wide too, where diagonals end differently
CPU = torch.device("cpu")
BATCH, FEATURES, HIDDEN = 2, 3, 4


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def arguments(height: int, width: int) -> list[Tensor]:
    """Arguments of `scan` after the order of the cells."""
    torch.manual_seed(1)
    cells = height * width
    shapes = [
        (cells, BATCH, FEATURES),
        (cells, BATCH, 4 * HIDDEN),
        (2, FEATURES, 4 * HIDDEN),
        (2, 4 * HIDDEN),
        (2, 2 * HIDDEN, 4 * HIDDEN),
        (2, 2, HIDDEN),
    ]
    return [numbers(*shape) for shape in shapes]


def recurrence(gates: Tensor, recurrent: Tensor, start: Tensor) -> Tensor:
    """Section 3.2 of the paper, rightwards, cell by cell: gates (height, width, 4·hidden) → (height, width, hidden)."""
    beside_weight, above_weight = recurrent.split(HIDDEN)
    above, lines = torch.zeros(gates.shape[1], HIDDEN, dtype=gates.dtype), []
    for row in gates:
        (state, cell), line = start, []
        for column, gate in enumerate(row):
            total = gate + state @ beside_weight + above[column] @ above_weight
            gate_in, out, forget, candidate = total.chunk(4)
            cell = forget.sigmoid() * cell + gate_in.sigmoid() * candidate.tanh()
            state = out.sigmoid() * cell.tanh()
            line.append(state)
        above = torch.stack(line)
        lines.append(above)
    return torch.stack(lines)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_diagonals_contain_every_pixel_once_and_no_two_that_depend_on_each_other(height, width):
    order = diagonals(height, width, CPU)
    positions = order.positions.tolist()
    assert sorted(positions) == list(range(height * width))
    for step, diagonal in enumerate(order.all):
        cells = positions[diagonal.cells]
        assert {cell // width + cell % width for cell in cells} == {step}
        assert cells == sorted(cells)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_diagonal_order_can_be_undone_and_mirrored(height, width):
    order = diagonals(height, width, CPU)
    images = torch.arange(BATCH * height * width).reshape(BATCH, height, width)
    assert torch.equal(order.images(order.cells(images)), images)
    assert torch.equal(order.images(order.cells(images)[order.mirror]), images.flip(2))


def by_the_paper(order: Diagonals, given: list[Tensor]) -> Tensor:
    """The result of a scan, cell by cell, as images (batch, height, width, hidden)."""
    seen, own, weight, bias, recurrent, start = given
    rightward = order.images(seen @ weight[0] + bias[0])
    leftward = order.images(seen @ weight[1] + bias[1] + own)
    found = []
    for image in range(BATCH):
        right = recurrence(rightward[image], recurrent[0], start[0])
        left = recurrence(leftward[image].flip(1), recurrent[1], start[1]).flip(1)
        found.append(right + torch.cat([torch.zeros_like(left[:1]), left[:-1]]))
    return torch.stack(found)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_scan_adds_both_recurrences_of_the_paper_with_the_leftward_one_shifted_down(height, width):
    order, given = diagonals(height, width, CPU), arguments(height, width)
    found = order.images(scan(order, *given))
    assert torch.allclose(found, by_the_paper(order, given), atol=1e-12)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_handwritten_gradients_equal_those_of_autograd(height, width):
    order = diagonals(height, width, CPU)
    given = [tensor.requires_grad_() for tensor in arguments(height, width)]
    wanted = numbers(BATCH, height, width, HIDDEN)
    expected = torch.autograd.grad((by_the_paper(order, given) * wanted).sum(), given)
    found = torch.autograd.grad((order.images(scan(order, *given)) * wanted).sum(), given)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-11)
