"""Bounds what test images cost under a VAE: −ELBO, and a tighter bound by importance samples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evaluation import abilities
from evaluation.abilities import Cost
from evaluation.graphs import Graphs
from training.families.vae import ACTIVE
from training.images import Groups, ImageSet, Pixels
from training.measures import baselines
from training.measures.comparison import against, units
from training.measures.intervals import Estimate, Values, around, estimate, variance_of_mean

DRAWS = 16  # draws of the noise for each image; the bound is their mean
DECODED = 20_000  # images decoded in all; with more test images there are fewer draws of each
IMPORTANCE_IMAGES = 100  # images that get importance samples, at the least
IMPORTANCE_DECODED = 50_000  # images decoded for importance samples, unless more are asked for


@dataclass(frozen=True, slots=True)
class Importance:
    """The bound by `samples` importance samples of some test images."""

    samples: int
    chosen: NDArray[np.int64]  # which of the test images: (chosen,)
    nats: Values  # (chosen,)


@dataclass(frozen=True, slots=True)
class Bound:
    """What the test images cost under a VAE, in nats; for an auto-encoder, the reconstruction only."""

    reconstruction: Values  # (images,)
    divergence: NDArray[np.float64] | None  # (images, latents); None: an auto-encoder
    means: NDArray[np.float32]  # of the latents: (images, latents)
    draws: int
    importance: Importance | None
    counted: Mapping[str, NDArray[np.float32]]  # baselines: nats (images, height, width)
    groups: Groups | None

    @property
    def nats(self) -> Values:
        """−ELBO of every image: (images,)."""
        penalty = 0.0 if self.divergence is None else self.divergence.sum(axis=1)
        return np.asarray(self.reconstruction + penalty)

    @property
    def mixture_nats(self) -> Values:
        """What every image costs under the best baseline: (images,)."""
        return np.asarray(self.counted[baselines.MIXTURE].sum((1, 2), dtype=np.float64))

    def figures(self) -> dict[str, Any]:
        """The bounds with their parts; for an auto-encoder, the reconstruction, which is not a likelihood."""
        pixels = self.counted[baselines.MIXTURE][0].size
        latents = self._latents()
        if self.divergence is None:
            found = units(estimate(self.reconstruction, self.groups), pixels)
            return {"reconstruction_only": found, "latents": latents}
        counted = {name: found.sum((1, 2), dtype=np.float64) for name, found in self.counted.items()}
        return {
            "negative_elbo": units(estimate(self.nats, self.groups), pixels),
            "parts": {
                "reconstruction": estimate(self.reconstruction, self.groups),
                "divergence": estimate(self.divergence.sum(axis=1), self.groups),
            },
            "draws": self.draws,
            "importance_weighted": self._importance_figures(),
            "baselines": against(self.nats, counted, self.groups),
            "latents": latents | {"divergence": self.divergence.mean(axis=0).round(2).tolist()},
        }

    def _latents(self) -> dict[str, Any]:
        active = int((self.means.var(axis=0, ddof=1) > ACTIVE).sum())
        return {"active": active, "all": self.means.shape[1]}

    def _importance_figures(self) -> dict[str, Any] | None:
        found = self.importance
        if found is None:
            return None
        return {
            "samples": found.samples,
            "images": len(found.chosen),
            "nats_per_image": self._for_all(found),
            "tighter_by": estimate(self.nats[found.chosen] - found.nats, _of(self.groups, found.chosen)),
        }

    def _for_all(self, found: Importance) -> Estimate:
        """The tighter bound for all test images: their −ELBO, less the mean gain of the chosen ones.

        The gain varies far less between images than the bound does, so a few images are enough to estimate it (a
        difference estimator: Cochran, Sampling Techniques, 1977).
        """
        groups, part = _of(self.groups, found.chosen), len(found.chosen) / len(self.nats)
        gain = self.nats[found.chosen] - found.nats
        variance = part * variance_of_mean(found.nats, groups) + (1 - part) * variance_of_mean(gain, groups)
        count = len(found.chosen) if groups is None else len(np.unique(groups))
        return around(float(self.nats.mean() - gain.mean()), variance, count)


def measure(
    graphs: Graphs, images: ImageSet, *, seed: int, samples: int, importance_images: int | None = None
) -> Bound:
    """Encode and decode the test images; with `samples` above 0, also draw that many importance samples."""
    counted = baselines.nats_per_pixel(images)
    plain = abilities.cost(graphs.manifest) is Cost.RECONSTRUCTION
    outputs = ["mean"] if plain else ["mean", "log_deviation"]
    mean, *deviation = graphs.run("encode", {"pixels": images.test}, outputs)
    if plain:
        error = costs(graphs, mean, images.test)
        return Bound(error, None, mean, 1, None, counted, images.test_groups)
    [log_deviation] = deviation
    draws = max(1, min(DRAWS, DECODED // len(mean)))
    rng = np.random.default_rng(seed)
    errors = [
        costs(graphs, _latents(mean, log_deviation, _noise(rng, mean.shape)), images.test)
        for _ in range(draws)
    ]
    chosen = choose(len(mean), samples, importance_images, seed)
    return Bound(
        reconstruction=np.mean(errors, axis=0),
        divergence=divergences(mean, log_deviation),
        means=mean,
        draws=draws,
        importance=weigh(graphs, images.test, mean, log_deviation, chosen, samples=samples, seed=seed),
        counted=counted,
        groups=images.test_groups,
    )


def choose(count: int, samples: int, wanted: int | None, seed: int) -> NDArray[np.int64]:
    """The images to draw importance samples for: as many as asked for, or as many as take about a minute."""
    affordable = max(IMPORTANCE_IMAGES, IMPORTANCE_DECODED // max(samples, 1))
    size = min(count, affordable if wanted is None else wanted)
    return np.sort(np.random.default_rng(seed).permutation(count)[:size])


def weigh(
    graphs: Graphs,
    pixels: Pixels,
    mean: NDArray[np.float32],
    log_deviation: NDArray[np.float32],
    chosen: NDArray[np.int64],
    *,
    samples: int,
    seed: int,
) -> Importance | None:
    """−log of the mean importance weight p(image|z) p(z) / q(z|image), z drawn from q, for each chosen image.

    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016. The more samples, the nearer it
    comes to the exact value, from above.
    """
    if samples < 1 or not len(chosen):
        return None
    nats = []
    for image in chosen:
        noise = _noise(np.random.default_rng([seed, image]), (samples, mean.shape[1]))
        latent = _latents(mean[image], log_deviation[image], noise)
        error = costs(graphs, latent, np.broadcast_to(pixels[image], (samples, *pixels[image].shape)))
        # log p(z) − log q(z|image): both normal, so their constants cancel.
        prior = 0.5 * (noise.astype(np.float64) ** 2 - latent.astype(np.float64) ** 2).sum(axis=1)
        weights = prior + float(log_deviation[image].sum(dtype=np.float64)) - error
        nats.append(math.log(samples) - float(np.logaddexp.reduce(weights)))
    return Importance(samples, chosen, np.array(nats))


def costs(graphs: Graphs, latent: NDArray[np.float32], pixels: Pixels) -> Values:
    """−log p(pixels | latent) in nats by the graph `decode`: (images, latents), (images, height, width) → (images,)."""
    found, start = [], 0
    for [logits] in graphs.portions("decode", {"latent": latent}, ["logits"]):
        found.append(_costs(logits, pixels[start : start + len(logits)]))
        start += len(logits)
    return np.concatenate(found)


def _costs(logits: NDArray[np.float32], pixels: Pixels) -> Values:
    # torch computes the logarithms on all cores, numpy on one.
    spread = torch.from_numpy(logits).logsumexp(dim=-1).numpy()
    own = np.take_along_axis(logits, pixels[..., None], -1)[..., 0]
    return np.asarray((spread - own).sum((1, 2), dtype=np.float64))


def divergences(mean: NDArray[np.float32], log_deviation: NDArray[np.float32]) -> NDArray[np.float64]:
    """KL(N(mean, deviation²) ‖ N(0, 1)) of each latent in nats: (images, latents)."""
    centre, logarithm = mean.astype(np.float64), log_deviation.astype(np.float64)
    return np.asarray(0.5 * (np.exp(2 * logarithm) - 1 - 2 * logarithm + centre**2))


def _latents(
    mean: NDArray[np.float32], log_deviation: NDArray[np.float32], noise: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.asarray(mean + np.exp(log_deviation) * noise, dtype=np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32)


def _of(groups: Groups | None, chosen: NDArray[np.int64]) -> Groups | None:
    return None if groups is None else groups[chosen]
