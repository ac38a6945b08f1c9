"""GAN: sizes, the palette, and spectral normalisation."""

import numpy as np
import pytest
import torch
from torch import nn

from models import gan
from models.gan import Discriminator, Generator

SIZES = [(2, 2), (5, 7), (8, 8), (20, 20)]


def a_generator(height=5, width=7):
    torch.manual_seed(3)
    return Generator(height=height, width=width, latent=6, channels=(8, 6, 4), pigments=4)


def a_discriminator(height=5, width=7, *, spectral=True):
    torch.manual_seed(4)
    return Discriminator(height=height, width=width, channels=(4, 6, 8), spectral=spectral)


def a_palette(colours=9):
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (colours, 3)).astype(np.float32))


@pytest.mark.parametrize(("height", "width"), SIZES)
@torch.no_grad()
def test_images_of_any_size_are_generated_and_judged(height, width):
    colours = a_generator(height, width)(torch.randn(3, 6))
    assert colours.shape == (3, 3, height, width)
    assert colours.abs().max() < 1
    assert a_discriminator(height, width)(colours).shape == (3,)


def lively(generator):
    """The generator with weights so large that the image depends on the latent."""
    with torch.no_grad():
        list(generator.choices.parameters())[-2].mul_(100)
    return generator


@torch.no_grad()
def test_an_image_has_no_more_colours_than_pigments_and_the_backdrop_is_one_of_them():
    generator = lively(a_generator()).eval()
    generator.backdrop.normal_()
    images = generator(torch.randn(16, 6)).permute(0, 2, 3, 1).flatten(1, 2)
    colours = [image.unique(dim=0) for image in images]
    assert max(map(len, colours)) == 4
    backdrop = generator.backdrop.flatten().tanh()
    assert sum(bool((found == backdrop).all(dim=1).any()) for found in colours) > 8


@torch.no_grad()
def test_painting_in_training_gives_the_same_colours():
    torch.manual_seed(1)
    pigments, choices = torch.randn(3, 4, 3), torch.randn(3, 4, 5, 7)
    assert torch.allclose(gan._paint_softly(pigments, choices), gan._paint(pigments, choices), atol=1e-6)


@torch.no_grad()
def test_an_image_depends_only_on_its_own_latent():
    generator = a_generator().eval()
    latent = torch.randn(5, 6)
    assert torch.allclose(generator(latent)[2], generator(latent[2:3])[0], atol=1e-6)


def test_every_choice_has_a_gradient_although_only_one_pigment_is_used():
    generator = a_generator().train()
    generator(torch.randn(8, 6)).square().sum().backward()
    weight = list(generator.choices.parameters())[-2]
    assert weight.grad is not None
    assert (weight.grad.flatten(1).abs().sum(dim=1) > 0).all()


def test_snapping_takes_the_nearest_colour():
    palette, colours = a_palette(), torch.rand(4, 3, 5, 7) * 2 - 1
    apart = (colours.permute(0, 2, 3, 1)[..., None, :] - palette).norm(dim=-1)
    assert torch.equal(gan.snap(palette, colours), apart.argmin(dim=-1))


def test_colours_of_the_palette_snap_to_themselves():
    palette = a_palette()
    pixels = torch.arange(9).repeat(7)[:35].reshape(1, 5, 7)
    assert torch.equal(gan.snap(palette, gan.colours_of(palette, pixels)), pixels)


def test_gradients_ignore_the_snap():
    palette, colours = a_palette(), (torch.rand(2, 3, 5, 7) * 2 - 1).requires_grad_()
    moved = gan.snapped(palette, colours)
    assert torch.allclose(moved, gan.colours_of(palette, gan.snap(palette, colours)), atol=1e-6)
    (3 * moved).sum().backward()
    assert colours.grad is not None
    assert (colours.grad == 3).all()


@torch.no_grad()
def test_spectral_normalisation_bounds_every_layer():
    discriminator = a_discriminator().train()
    for _ in range(50):
        discriminator(torch.randn(4, 3, 5, 7))  # each call in training is one step of the power iteration
    discriminator.eval().unbind()
    weights = [layer.weight for layer in discriminator.layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(weights) == 4
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), ord=2) == pytest.approx(1.0, abs=0.02)


@torch.no_grad()
def test_unbinding_does_not_change_the_output():
    discriminator, colours = a_discriminator(), torch.randn(4, 3, 5, 7)
    before = discriminator.eval()(colours)
    discriminator.unbind()
    assert torch.allclose(discriminator(colours), before, atol=1e-6)
    assert not any("parametrizations" in name for name in discriminator.state_dict())


def test_spectral_normalisation_can_be_turned_off():
    assert not any("parametrizations" in name for name in a_discriminator(spectral=False).state_dict())


@torch.no_grad()
def test_slope_and_offset_turn_the_output_into_a_probability():
    discriminator, colours = a_discriminator().eval(), torch.randn(4, 3, 5, 7)
    discriminator.slope.fill_(3.0)
    discriminator.offset.fill_(-1.0)
    assert torch.allclose(discriminator.probability(colours), (3 * discriminator(colours) - 1).sigmoid())


@torch.no_grad()
def test_a_generator_that_blends_mixes_pigments():
    generator = Generator(height=5, width=7, latent=6, channels=(8, 6, 4), pigments=4, blends=True)
    colours = lively(generator).eval()(torch.randn(4, 6)).permute(0, 2, 3, 1).flatten(1, 2)
    assert min(len(image.unique(dim=0)) for image in colours) > 4


@torch.no_grad()
def test_sensitivity_multiplies_the_input_of_the_discriminator():
    torch.manual_seed(0)
    one = Discriminator(height=5, width=7, channels=(4, 6), spectral=False, sensitivity=1.0)
    other = Discriminator(height=5, width=7, channels=(4, 6), spectral=False, sensitivity=3.0)
    other.load_state_dict(one.state_dict())
    colours = torch.randn(4, 3, 5, 7)
    assert torch.equal(other(colours), one(3 * colours))
