"""VAE: images of any size are encoded and decoded, and the ELBO is below the likelihood."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from models import vae
from models.vae import VAE

HEIGHT, WIDTH, COLOURS = 5, 7, 4


def a_network(height=HEIGHT, width=WIDTH, latent=3, channels=(6, 8), enlarging="nearest"):
    torch.manual_seed(3)
    return VAE(
        height=height,
        width=width,
        colours=COLOURS,
        latent=latent,
        embedding=4,
        channels=channels,
        hidden=12,
        dropout=0.5,
        enlarging=enlarging,
    ).eval()


def images(count, height=HEIGHT, width=WIDTH, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, COLOURS, (count, height, width)))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (5, 7), (8, 8), (9, 20), (20, 20)])
@pytest.mark.parametrize("channels", [(5,), (5, 6), (5, 6, 7)])
@pytest.mark.parametrize("enlarging", ["nearest", "transposed"])
@torch.no_grad()
def test_decoded_images_have_the_size_of_encoded_ones(height, width, channels, enlarging):
    network = a_network(height, width, channels=channels, enlarging=enlarging)
    mean, log_deviation = network.encode(images(2, height, width))
    assert mean.shape == log_deviation.shape == (2, 3)
    assert network.decode(mean).shape == (2, height, width, COLOURS)
    assert vae.draw(network, mean).shape == (2, height, width)


@torch.no_grad()
def test_without_noise_the_mean_is_decoded():
    network, pixels = a_network(), images(4)
    logits, mean, _ = network(pixels, torch.zeros(4, 3))
    assert torch.equal(logits, network.decode(mean))


@torch.no_grad()
def test_noise_moves_the_latent_by_its_standard_deviation():
    network, pixels, noise = a_network(), images(4), torch.randn(4, 3)
    logits, mean, log_deviation = network(pixels, noise)
    moved = Normal(mean, log_deviation.exp())
    assert torch.allclose(logits, network.decode(moved.mean + moved.stddev * noise), atol=1e-6)


@pytest.mark.parametrize("enlarging", ["nearest", "transposed"])
@torch.no_grad()
def test_every_pixel_influences_the_latent_and_every_latent_influences_every_pixel(enlarging):
    network, pixels = a_network(enlarging=enlarging), images(1)
    mean, _ = network.encode(pixels)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            changed = pixels.clone()
            changed[0, row, column] = (changed[0, row, column] + 1) % COLOURS
            assert not torch.equal(network.encode(changed)[0], mean), (row, column)
    for number in range(3):
        moved = mean + torch.eye(3)[number]
        assert (network.decode(moved) != network.decode(mean)).any(dim=-1).all(), number


def test_the_divergence_equals_torchs_for_normal_distributions():
    mean, log_deviation = torch.randn(5, 3), torch.randn(5, 3)
    expected = kl_divergence(Normal(mean, log_deviation.exp()), Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(vae.divergence(mean, log_deviation), expected, atol=1e-5)


def test_the_divergence_of_a_standard_normal_latent_is_zero():
    assert vae.divergence(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0.0


def test_the_likelihood_is_summed_over_pixels():
    pixels = images(2)
    even = torch.zeros(2, HEIGHT, WIDTH, COLOURS)
    assert vae.log_likelihood(even, pixels) == pytest.approx(-HEIGHT * WIDTH * math.log(COLOURS), abs=1e-4)


@torch.no_grad()
def test_the_elbo_is_below_the_likelihood_by_the_divergence_from_the_true_posterior():
    # Given a network with one latent, so that a grid gives the integral of the likelihood.
    network, pixels = a_network(latent=1), images(1)
    grid = torch.linspace(-8, 8, 4001)
    joint = vae.log_likelihood(network.decode(grid[:, None]), pixels.expand(len(grid), -1, -1))
    joint = joint + Normal(0.0, 1.0).log_prob(grid)
    exact = torch.logsumexp(joint, dim=0) + math.log(float(grid[1] - grid[0]))
    # When the ELBO is averaged over much noise.
    noise = torch.randn(4000, 1)
    bound = vae.elbo(network, pixels.expand(len(noise), -1, -1), noise).mean()
    mean, log_deviation = network.encode(pixels)
    guessed = Normal(mean[0, 0], log_deviation[0, 0].exp()).log_prob(grid)
    posterior = joint - exact
    gap = ((guessed.exp() * (guessed - posterior)).sum() * (grid[1] - grid[0])).item()
    assert bound < exact
    assert (exact - bound).item() == pytest.approx(gap, abs=0.1)
