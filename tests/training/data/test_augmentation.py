"""Augmentation: images change at random, stay images, and let gradients pass."""

import pytest
import torch

from training.data import augmentation
from training.data.augmentation import differentiably, mirrored, recoloured, recolourings


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_the_requested_share_of_the_images_is_mirrored():
    images = torch.arange(4).repeat(2000, 3, 1)
    turned = mirrored(images, 0.25)
    flipped = (turned == images.flip(2)).all(dim=(1, 2))
    kept = (turned == images).all(dim=(1, 2))
    assert (flipped ^ kept).all()
    assert flipped.float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(mirrored(images, 0.0), images)
    assert torch.equal(mirrored(images, 1.0), images.flip(2))


def test_hues_turn_together_and_the_background_stays():
    red, _, green, cyan, blue, magenta = range(1, 7)
    palette = ("#ece4d4", "#ff0000", "#ffff00", "#00ff00", "#00ffff", "#0000ff", "#ff00ff")
    same, opposite = recolourings(palette, 0, 2).tolist()
    assert same == list(range(7))
    assert opposite[0] == 0
    assert opposite[green] in (blue, magenta)
    assert opposite[red] in (green, cyan)


def test_the_requested_share_of_the_images_is_recoloured():
    tables = torch.tensor([[0, 1, 2], [0, 2, 1]])
    images = torch.tensor([0, 1, 2]).repeat(4000, 2, 1)
    changed = recoloured(images, tables, 0.5)
    by_table = [(changed == table[images]).all(dim=(1, 2)) for table in tables]
    assert (by_table[0] ^ by_table[1]).all()
    assert by_table[1].float().mean() == pytest.approx(0.25, abs=0.03)  # half of the chosen take the first
    assert torch.equal(recoloured(images, tables, 0.0), images)


def test_moving_shifts_whole_images_and_repeats_the_border():
    ramp = torch.arange(16.0).expand(200, 3, 16, 16)
    moved = augmentation._moved(ramp)
    shifts = moved[:, 0, 0, 8] - 8
    assert set(shifts.tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    expected = (torch.arange(16.0) + shifts[:, None]).clamp(0, 15)
    assert torch.equal(moved, expected[:, None, None, :].expand_as(moved))


def test_a_square_is_covered_and_the_rest_is_kept():
    covered = augmentation._covered(torch.ones(300, 3, 20, 20))
    hidden = (covered == 0).all(dim=1)
    assert hidden.flatten(1).sum(dim=1).max() == 8 * 8
    assert ((covered == 0) | (covered == 1)).all()
    assert hidden.any(dim=0).all()  # every place may be covered


def test_every_image_of_a_batch_is_changed_differently():
    images = torch.rand(1, 3, 20, 20).expand(8, -1, -1, -1)
    changed = differentiably(images)
    assert len({tuple(image.flatten().tolist()) for image in changed}) == 8


def test_gradients_pass_through():
    images = torch.rand(8, 3, 20, 20, requires_grad=True)
    differentiably(images).square().sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().sum(dim=1) > 0).all()
