"""PixelRNN: a pixel depends on the earlier ones only, and both paths compute the same."""

import numpy as np
import pytest
import torch

from models import pixel_rnn
from models.diagonal import DiagonalPixelRNN
from models.pixel_rnn import LecturePixelRNN

HEIGHT, WIDTH, COLOURS = 4, 5, 7


def lecture(**size):
    return LecturePixelRNN(**size, embedding=6, hidden=16, dropout=0.3, recurrent_dropout=0.3)


def diagonal(**size):
    return DiagonalPixelRNN(
        **size,
        layers=2,
        hidden=8,
        features=16,
        embedding=6,
        head=12,
        position=True,
        memory=True,
        copy=True,
        dropout=0.3,
        recurrent_dropout=0.3,
    )


VARIANTS = {"lecture": (lecture, "head"), "diagonal": (diagonal, "head.second")}


@pytest.fixture(params=VARIANTS)
def network(request):
    """A small network with weights large enough that its pixels matter."""
    make, last = VARIANTS[request.param]
    torch.manual_seed(3)
    network = make(height=HEIGHT, width=WIDTH, colours=COLOURS)
    with torch.no_grad():
        network.get_submodule(last).weight.mul_(30)
    return network.eval()


def pixels(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, COLOURS, (count, HEIGHT, WIDTH)))


def uniform(count, seed=0):
    numbers = 1.0 - np.random.default_rng(seed).random((count, HEIGHT, WIDTH))
    return torch.from_numpy(numbers.astype(np.float32))


def advance(drawer, row, state, *, reset, uniforms=None, forced=None, temperature=1.0):
    slots = len(reset)
    return drawer(
        reset,
        torch.full((slots,), row),
        torch.ones(slots, WIDTH) if uniforms is None else uniforms,
        torch.full((slots, WIDTH), -1) if forced is None else forced,
        torch.full((slots,), temperature),
        *state,
    )


@torch.no_grad()
def test_a_pixel_depends_on_earlier_ones_and_on_no_later_one(network):
    image = pixels(1)
    before = network.logits(image).flatten(1, 2)
    position = 7
    changed = image.flatten(1).clone()
    changed[0, position] = (changed[0, position] + 1) % COLOURS
    after = network.logits(changed.reshape_as(image)).flatten(1, 2)
    assert torch.equal(before[:, : position + 1], after[:, : position + 1])
    assert not torch.isclose(before[:, position + 1], after[:, position + 1]).all()


@torch.no_grad()
@pytest.mark.parametrize("make", [lecture, diagonal])
def test_the_probabilities_of_all_small_images_sum_to_one(make):
    torch.manual_seed(0)
    tiny = make(height=2, width=2, colours=3).eval()
    all_images = torch.cartesian_prod(*[torch.arange(3)] * 4).reshape(-1, 2, 2)
    assert pixel_rnn.score(tiny, all_images).sum((1, 2)).exp().sum().item() == pytest.approx(1.0, abs=1e-5)


@torch.no_grad()
def test_row_by_row_gives_the_likelihood_of_the_whole_image(network):
    images = pixels(6)
    drawer = network.drawer()
    state, rows = drawer.fresh(6), []
    for row in range(HEIGHT):
        kept, logp, *state = advance(
            drawer, row, state, reset=torch.full((6,), row == 0), forced=images[:, row]
        )
        assert torch.equal(kept, images[:, row])
        rows.append(logp)
    assert torch.allclose(torch.stack(rows, 1), pixel_rnn.score(network, images), atol=1e-5)


def test_the_same_uniforms_draw_the_same_images_alone_and_in_a_batch(network):
    numbers = uniform(5)
    together = pixel_rnn.draw(network, numbers)
    alone = torch.cat([pixel_rnn.draw(network, one[None]) for one in numbers])
    assert torch.equal(together, alone)
    assert len(together.unique()) > 2


def test_drawn_pixels_follow_the_distribution(network):
    draws = 4000
    numbers = torch.from_numpy((np.arange(draws, dtype=np.float32) + 0.5) / draws)
    first = pixel_rnn.draw(network, numbers[:, None, None].expand(draws, HEIGHT, WIDTH))[:, 0, 0]
    with torch.no_grad():
        expected = network.logits(pixels(1))[0, 0, 0].softmax(0)
    assert torch.bincount(first, minlength=COLOURS).div(draws).sub(expected).abs().max() < 1e-3


def test_forced_pixels_are_kept_and_change_what_follows(network):
    numbers, kept = uniform(4), torch.full((4, HEIGHT, WIDTH), -1)
    free = pixel_rnn.draw(network, numbers)
    kept[:, :2] = (free[:, :2] + 1) % COLOURS
    completed = pixel_rnn.draw(network, numbers, forced=kept)
    assert torch.equal(completed[:, :2], kept[:, :2])
    assert not torch.equal(completed[:, 2:], free[:, 2:])


def test_an_image_resumed_from_its_first_rows_is_the_same_image(network):
    numbers, kept = uniform(4), torch.full((4, HEIGHT, WIDTH), -1)
    whole = pixel_rnn.draw(network, numbers)
    kept[:, :3] = whole[:, :3]
    assert torch.equal(pixel_rnn.draw(network, numbers, forced=kept), whole)


@torch.no_grad()
def test_reset_removes_even_nan_from_the_state(network):
    drawer = network.drawer()
    bad_state = [
        torch.full_like(part, torch.nan) if part.is_floating_point() else part for part in drawer.fresh(2)
    ]
    kept, logp, *_ = advance(drawer, 0, bad_state, reset=torch.tensor([True, False]))
    fresh, fresh_logp, *_ = advance(drawer, 0, drawer.fresh(2), reset=torch.tensor([True, True]))
    assert torch.equal(kept[0], fresh[0])
    assert torch.equal(logp[0], fresh_logp[0])
    assert logp[1].isnan().all()


class TestDrawPixel:
    def draw(self, probabilities, uniform, forced=-1, temperature=1.0):
        logits, kept = torch.tensor([probabilities]).log(), torch.tensor([[forced]])
        number = pixel_rnn.undrawn(torch.tensor([[uniform]]), kept)
        pixel = pixel_rnn.draw_pixel(logits, number, kept, torch.tensor([[temperature]]))
        return pixel.item(), pixel_rnn.log_probabilities(logits, pixel[:, 0]).item()

    @pytest.mark.parametrize(
        ("uniform", "pixel"), [(2.0**-24, 0), (0.25, 0), (0.26, 1), (0.75, 1), (0.76, 2), (1.0, 2)]
    )
    def test_the_cumulative_distribution_decides_the_colour_of_a_uniform_number(self, uniform, pixel):
        assert self.draw([0.25, 0.5, 0.25], uniform)[0] == pixel

    @pytest.mark.parametrize("uniform", [2.0**-24, 1.0])
    def test_a_colour_of_probability_zero_is_never_drawn(self, uniform):
        assert self.draw([0.0, 1.0, 0.0], uniform)[0] == 1

    def test_temperature_changes_the_draw_but_not_the_reported_probability(self):
        pixel, logp = self.draw([0.4, 0.6], 0.3, temperature=0.05)
        assert pixel == 1
        assert logp == pytest.approx(np.log(0.6), abs=1e-6)

    def test_a_forced_pixel_is_kept_whatever_its_probability(self):
        pixel, logp = self.draw([0.9, 0.1], 0.1, forced=1)
        assert (pixel, logp) == (1, pytest.approx(np.log(0.1), abs=1e-6))


def test_dropout_acts_in_training_only(network):
    image = pixels(1)
    with torch.no_grad():
        assert torch.equal(network.logits(image), network.logits(image))
        network.train()
        assert not torch.equal(network.logits(image), network.logits(image))


def test_every_weight_has_a_gradient(network):
    network.train()
    (-pixel_rnn.score(network, pixels(8)).mean()).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
