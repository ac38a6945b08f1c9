"""Likeness: similar colours learn together."""

import torch
from torch import nn

from models import likeness
from models.diagonal import DiagonalPixelRNN

PALETTE = ("#ff0000", "#f01010", "#0000ff", "#ffffff")
RED, NEARLY_RED, BLUE, WHITE = range(4)


def test_the_kernel_falls_with_the_distance_of_colours():
    phi = likeness.root(PALETTE)
    kernel = phi @ phi.T
    assert torch.allclose(kernel.diag(), torch.ones(4), atol=1e-3)
    assert kernel[RED, NEARLY_RED] > 0.5 > kernel[RED, BLUE]


def test_a_step_for_one_colour_moves_similar_colours_more_than_distant_ones():
    table = nn.Embedding(5, 3)
    likeness.share(table)
    likeness.know(table, PALETTE)
    before = table.weight.detach().clone()
    optimiser = torch.optim.SGD(table.parameters(), lr=0.1)
    table(torch.tensor([RED])).sum().backward()
    optimiser.step()
    moved = (table.weight - before).abs().sum(dim=1)
    assert moved[RED] > moved[NEARLY_RED] > 2 * moved[BLUE]
    assert moved[4] == 0  # it means outside of the image


def test_columns_are_shared_in_the_same_way_as_rows():
    rows, columns = nn.Linear(3, 4, bias=False), nn.Linear(4, 3, bias=False)
    with torch.no_grad():
        columns.weight.copy_(rows.weight.T)
    likeness.share(rows)
    likeness.share(columns, columns=True)
    for module in (rows, columns):
        likeness.know(module, PALETTE)
    assert torch.allclose(rows.weight, columns.weight.T)


def test_a_network_keeps_its_palette_when_its_weights_are_loaded():
    def made():
        torch.manual_seed(0)
        return DiagonalPixelRNN(height=4, width=5, colours=4, memory=True, likeness=True).eval()

    network, again = made(), made()
    likeness.know(network, PALETTE)
    again.load_state_dict(network.state_dict())
    pixels = torch.randint(0, 4, (2, 4, 5))
    assert torch.equal(network.logits(pixels), again.logits(pixels))
    assert not torch.allclose(network.logits(pixels), made().logits(pixels))
