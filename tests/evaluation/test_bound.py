"""Bounds of a VAE so small that its exact likelihood can be integrated."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from evaluation import bound
from evaluation.graphs import Graphs
from smalti.runtime.manifest import Graph, Tensor
from tests.evaluation.toy_images import image_set

PIXELS = np.array([[[0, 1], [1, 1]], [[0, 0], [1, 0]], [[1, 1], [1, 1]]])
GAINS, OFFSETS = np.array([[2.0, -1.0], [0.5, 3.0]]), np.array([[0.3, 0.0], [-1.0, 0.5]])


class TinyVAE:
    """One latent; a pixel is 1 with probability sigmoid(gain · latent + offset). Its encoder is a bad guess."""

    def __init__(self, encoded):
        latents = tuple(Tensor(name=name, type="float32", shape=(-1, 1)) for name in encoded)
        encode = Graph(file="encode.onnx", inputs=(), outputs=latents)
        self.manifest = SimpleNamespace(graphs={"encode": encode, "decode": None}, score=None)

    def run(self, graph, inputs, outputs):
        assert graph == "encode"
        mean = inputs["pixels"].mean((1, 2), keepdims=True)[:, 0].astype(np.float32) - 0.3
        return [mean, np.full_like(mean, -0.2)][: len(outputs)]

    def portions(self, graph, inputs, outputs):
        assert (graph, outputs) == ("decode", ["logits"])
        for part in np.array_split(inputs["latent"], 2):  # portions may be of any size
            ones = part[:, :, None] * GAINS + OFFSETS
            yield [np.stack([np.zeros_like(ones), ones], axis=-1).astype(np.float32)]


def graphs(encoded: tuple[str, ...] = ("mean", "log_deviation")) -> Graphs:
    return cast(Graphs, TinyVAE(encoded))


def exact():
    """−log P(image) by integration over the latent: (images,)."""
    latent = np.linspace(-12, 12, 40_001)
    ones = 1 / (1 + np.exp(-(latent[:, None, None] * GAINS + OFFSETS)))
    prior = np.exp(-0.5 * latent**2) / np.sqrt(2 * np.pi)
    chances = [np.where(image == 1, ones, 1 - ones).prod((1, 2)) for image in PIXELS]
    return np.array([-np.log((chance * prior).sum() * (latent[1] - latent[0])) for chance in chances])


@pytest.fixture(scope="module")
def images():
    return image_set(PIXELS, PIXELS, PIXELS, palette=("#000000", "#ffffff"))


def test_more_importance_samples_come_nearer_to_the_exact_likelihood_from_above(images):
    def nats(samples, seed=0):
        importance = bound.measure(graphs(), images, seed=seed, samples=samples).importance
        assert importance is not None
        return importance.nats

    many = np.mean([nats(1, seed) for seed in range(150)], axis=0)
    assert (many > exact()).all()
    assert nats(20_000) == pytest.approx(exact(), abs=0.03)


def test_the_bound_is_the_mean_of_single_importance_samples_and_above_the_likelihood(images):
    found = [bound.measure(graphs(), images, seed=seed, samples=1) for seed in range(300)]
    elbo = np.mean([one.nats for one in found], axis=0)
    single = [weighed.nats for weighed in (one.importance for one in found) if weighed is not None]
    assert (elbo > exact()).all()
    assert elbo == pytest.approx(np.mean(single, axis=0), abs=0.2)
    assert bound.measure(graphs(), images, seed=0, samples=0).figures()["importance_weighted"] is None


def test_the_divergence_is_that_of_normal_distributions():
    rng = np.random.default_rng(0)
    mean, deviation = (rng.normal(size=(5, 3)).astype(np.float32) for _ in range(2))
    normal = torch.distributions.Normal(torch.from_numpy(mean), torch.from_numpy(deviation).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    assert bound.divergences(mean, deviation) == pytest.approx(expected.numpy(), rel=1e-4)


def test_a_few_images_are_enough_to_estimate_the_tighter_bound_of_all(images):
    many = image_set(
        PIXELS, PIXELS, PIXELS[np.random.default_rng(0).integers(0, 3, 300)], palette=images.palette
    )
    few = bound.measure(graphs(), many, seed=0, samples=200, importance_images=30).figures()
    every = bound.measure(graphs(), many, seed=0, samples=200, importance_images=300).figures()
    by_few, by_all = (found["importance_weighted"]["nats_per_image"] for found in (few, every))
    assert few["importance_weighted"]["images"] == 30
    assert by_few.low < by_all.mean < by_few.high


def test_an_auto_encoder_has_a_reconstruction_and_no_bound(images):
    figures = bound.measure(graphs(("mean",)), images, seed=0, samples=5).figures()
    assert figures.keys() == {"reconstruction_only", "latents"}


def test_a_latent_is_active_where_its_mean_varies(images):
    assert bound.measure(graphs(), images, seed=0, samples=0).figures()["latents"]["active"] == 1
    same = image_set(PIXELS, PIXELS, PIXELS[[0, 0, 0]], palette=images.palette)
    assert bound.measure(graphs(), same, seed=0, samples=0).figures()["latents"]["active"] == 0


def test_more_importance_samples_are_drawn_for_fewer_images_unless_their_number_is_given():
    assert len(bound.choose(10_000, 500, None, 0)) == 100
    assert len(bound.choose(10_000, 50, None, 0)) == 1000
    assert bound.choose(7, 500, None, 0).tolist() == list(range(7))
    assert len(bound.choose(10_000, 500, 3000, 0)) == 3000
