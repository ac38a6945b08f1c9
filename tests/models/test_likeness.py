"""Likeness: colours that look alike learn together, and what is drawn with stays free."""

import torch
from torch import nn

from models import likeness
from models.diagonal import DiagonalPixelRNN

PALETTE = ("#ff0000", "#f01010", "#0000ff", "#ffffff")
RED, NEARLY_RED, BLUE, WHITE = range(4)


def test_the_root_is_that_of_a_kernel_which_falls_with_distance():
    phi = likeness.root(PALETTE)
    kernel = phi @ phi.T
    assert torch.allclose(kernel.diag(), torch.ones(4), atol=1e-3)
    assert kernel[RED, NEARLY_RED] > 0.5 > kernel[RED, BLUE]


def test_a_step_for_one_colour_moves_the_colour_beside_it_more_than_a_distant_one():
    table = nn.Embedding(5, 3)
    likeness.share(table)
    likeness.know(table, PALETTE)
    before = table.weight.detach().clone()
    optimiser = torch.optim.SGD(table.parameters(), lr=0.1)
    table(torch.tensor([RED])).sum().backward()
    optimiser.step()
    moved = (table.weight - before).abs().sum(dim=1)
    assert moved[RED] > moved[NEARLY_RED] > 2 * moved[BLUE]
    assert moved[4] == 0  # which stands outside of the image and is no colour


def test_columns_share_as_rows_do():
    rows, columns = nn.Linear(3, 4, bias=False), nn.Linear(4, 3, bias=False)
    with torch.no_grad():
        columns.weight.copy_(rows.weight.T)
    likeness.share(rows)
    likeness.share(columns, columns=True)
    for module in (rows, columns):
        likeness.know(module, PALETTE)
    assert torch.allclose(rows.weight, columns.weight.T)


def test_a_network_read_back_knows_its_palette():
    def made():
        torch.manual_seed(0)
        return DiagonalPixelRNN(height=4, width=5, colours=4, memory=True, likeness=True).eval()

    network, again = made(), made()
    likeness.know(network, PALETTE)
    again.load_state_dict(network.state_dict())
    pixels = torch.randint(0, 4, (2, 4, 5))
    assert torch.equal(network.logits(pixels), again.logits(pixels))
    assert not torch.allclose(network.logits(pixels), made().logits(pixels))
