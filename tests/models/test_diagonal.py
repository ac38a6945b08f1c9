"""The diagonal PixelRNN: both paths compute the same, from all earlier pixels and no later one."""

import numpy as np
import pytest
import torch

from models import diagonal, pixel_rnn
from models.diagonal import DiagonalPixelRNN
from models.neighbourhood import LEFT
from models.scan import diagonals

COLOURS = 6
PLAIN = {"position": False, "memory": False, "copy": False, "likeness": False}
OPTIONS = {
    "plain": PLAIN,
    **{name: {**PLAIN, name: True} for name in PLAIN},
    "all": {"position": True, "memory": True, "copy": True, "likeness": True},
}
SIZES = [(5, 7), (7, 5), (6, 6), (9, 2), (2, 9)]  # higher than wide too, where diagonals end differently


def network(height, width, *, layers=3, **chosen):
    """A network with all weights far from zero, so that a missing term is noticed."""
    torch.manual_seed(4)
    chosen = PLAIN | chosen
    made = DiagonalPixelRNN(
        height=height,
        width=width,
        colours=COLOURS,
        layers=layers,
        hidden=5,
        features=12,
        embedding=4,
        head=16,
        **chosen,
    )
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return made.eval()


def images(count, height, width, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, COLOURS, (count, height, width)))


@torch.no_grad()
def logits_by_rows(network, pixels):
    """The step path's logits for given pixels (batch, height, width, colours), taken from inside the step."""
    drawer, found = network.drawer(), []
    compute = drawer.step.logits

    def caught(*inputs):
        found.append(compute(*inputs))
        return found[-1]

    drawer.step.logits = caught
    state = drawer.fresh(len(pixels))
    for row in range(network.height):
        here = torch.full((len(pixels),), row)
        ones = torch.ones(len(pixels))
        numbers = torch.ones(len(pixels), network.width)
        _, _, *state = drawer(here == 0, here, numbers, pixels[:, row], ones, *state)
    return torch.stack(found, dim=1).reshape(*pixels.shape, COLOURS)


@torch.no_grad()
@pytest.mark.parametrize("chosen", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_step_path_gives_the_same_logits_as_the_whole_image(height, width, chosen):
    made = network(height, width, **chosen)
    pixels = images(4, height, width)
    at_once = made.logits(pixels)
    assert (logits_by_rows(made, pixels) - at_once).abs().max() < 1e-5
    assert at_once.std() > 0.3, "logits near zero would agree whatever they meant"


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_both_paths_agree_at_any_depth(layers):
    made = network(6, 7, layers=layers)
    pixels = images(3, 6, 7)
    assert (logits_by_rows(made, pixels) - made.logits(pixels)).abs().max() < 1e-5


@torch.no_grad()
def test_both_paths_agree_at_the_size_and_palette_of_sprites():
    torch.manual_seed(0)
    made = DiagonalPixelRNN(height=20, width=20, colours=167, position=True, memory=True, copy=True).eval()
    made.head.second.weight.mul_(20)
    pixels = torch.randint(167, (2, 20, 20))
    drawer = made.drawer()
    state, rows = drawer.fresh(2), []
    for row in range(20):
        here, numbers = torch.full((2,), row), torch.ones(2, 20)
        _, logp, *state = drawer(here == 0, here, numbers, pixels[:, row], torch.ones(2), *state)
        rows.append(logp)
    assert (torch.stack(rows, 1) - pixel_rnn.score(made, pixels)).abs().max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("chosen", OPTIONS.values(), ids=OPTIONS.keys())
def test_every_pixel_influences_all_later_ones_and_no_earlier_one(chosen):
    height, width = 5, 9  # wide enough that the window alone does not reach everything
    made = network(height, width, layers=2, **chosen).double()
    [image] = images(1, height, width)
    changed = image.repeat(height * width, 1, 1)
    for position in range(height * width):
        changed[position].view(-1)[position] = (image.view(-1)[position] + 1) % COLOURS
    apart = made.logits(changed) - made.logits(image.expand_as(changed))  # (changed, height, width, colours)
    reached = apart.abs().amax(-1).flatten(1) > 0
    earlier = torch.arange(height * width)
    assert not reached[earlier[:, None] >= earlier].any()
    assert reached[earlier[:, None] < earlier].all()


@torch.no_grad()
def test_one_layer_reaches_every_pixel_even_if_the_window_has_only_left_neighbours():
    made = network(4, 6, layers=1).double()
    made.window.zero_()
    made.window[: len(LEFT)] = 0.3
    [image] = images(1, 4, 6)
    last = made.logits(image[None])[0, -1, -1]
    for position in range(4 * 6 - 1):
        other = image.clone()
        other.view(-1)[position] = (other.view(-1)[position] + 1) % COLOURS
        assert not torch.equal(made.logits(other[None])[0, -1, -1], last), position


@torch.no_grad()
def test_the_colour_memory_counts_the_earlier_pixels():
    pixels = torch.tensor([[[0, 1], [1, 2]]])
    counts = diagonal._used_before(pixels, torch.zeros(3, 1)).expm1().round().to(torch.int64)
    assert counts.flatten(0, 2).tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 2, 0]]


@torch.no_grad()
def test_the_copy_head_raises_neighbouring_colours_and_never_the_outside_symbol():
    made = network(3, 3, copy=True)
    made.head.second.weight.zero_()
    made.head.second.bias.zero_()
    made.head.second.bias[COLOURS:] = 1.0
    pixels = torch.tensor([[[0, 1, 2], [3, 4, 5], [0, 1, 2]]])
    logits = made.logits(pixels)[0]
    assert logits[0, 0].tolist() == [0, 0, 0, 0, 0, 0]
    assert logits[1, 1].tolist() == [1, 1, 1, 1, 0, 0]  # three above, one at the left
    # 5 above, 4 beside it, 2 above it, 0 and 1 at the left
    assert logits[2, 2].tolist() == [1, 1, 1, 0, 1, 1]


@torch.no_grad()
def test_the_state_does_not_grow_with_the_height():
    small, tall = (network(height, 5, **OPTIONS["all"]).drawer().fresh(2) for height in (3, 30))
    assert [part.shape for part in small] == [part.shape for part in tall]


def test_a_drawer_is_on_the_device_of_its_network():
    drawer = network(3, 4, **OPTIONS["all"]).to("meta").drawer()
    assert {value.device.type for value in (*drawer.parameters(), *drawer.buffers())} == {"meta"}


@torch.no_grad()
def test_the_window_by_convolution_equals_the_window_by_table():
    made = network(5, 7)
    pixels = images(3, 5, 7)
    order = diagonals(5, 7, pixels.device)
    assert torch.allclose(made._window_of_few(order, pixels), made._window_of_many(order, pixels), atol=1e-6)
