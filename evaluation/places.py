"""Chooses latents to decode: those of images, between them, and far from them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REACH = 2.5  # reach of a sweep, in standard deviations: 98.8 % of a normal distribution are within

Latents = NDArray[np.float32]  # (images, latents)


@dataclass(frozen=True, slots=True)
class Cloud:
    """Mean and covariance of the latents of images."""

    middle: NDArray[np.float64]  # (latents,)
    covariance: NDArray[np.float64]  # (latents, latents)

    @classmethod
    def of(cls, means: Latents) -> "Cloud":
        """Computed from the encoder's means: (images, latents)."""
        exact = means.astype(np.float64)
        return cls(exact.mean(axis=0), np.atleast_2d(np.cov(exact, rowvar=False)))

    @property
    def deviations(self) -> NDArray[np.float64]:
        """The standard deviation of each latent: (latents,)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def widest(self) -> tuple[int, int]:
        """The two dimensions in which images differ most."""
        first, second = np.argsort(-self.deviations, kind="stable")[:2]
        return int(first), int(second)


def between(means: Latents, count: int, rng: np.random.Generator) -> Latents:
    """The midpoints of `count` random pairs of different images."""
    first = rng.integers(len(means), size=count)
    second = (first + rng.integers(1, len(means), size=count)) % len(means)
    return np.asarray((means[first] + means[second]) / 2, dtype=np.float32)


def swept(cloud: Cloud, count: int, rng: np.random.Generator) -> Latents:
    """Random places: two random dimensions anywhere within ±REACH deviations, the others in the middle."""
    size = len(cloud.middle)
    chosen = np.argsort(rng.random((count, size)), axis=1)[:, :2]  # two different ones each
    moved = np.zeros((count, size))
    np.put_along_axis(moved, chosen, rng.uniform(-REACH, REACH, (count, 2)), axis=1)
    return np.asarray(cloud.middle + moved * cloud.deviations, dtype=np.float32)


def fitted(cloud: Cloud, count: int, rng: np.random.Generator) -> Latents:
    """Drawn from the normal distribution with the mean and covariance of the images' latents."""
    return rng.multivariate_normal(cloud.middle, cloud.covariance, count).astype(np.float32)


def prior(size: int, count: int, rng: np.random.Generator) -> Latents:
    """Drawn from N(0, 1), from which a VAE draws images."""
    return rng.standard_normal((count, size), dtype=np.float32)


def sweep(cloud: Cloud, dimensions: tuple[int, int], steps: int) -> Latents:
    """A grid within ±REACH deviations in two dimensions, line by line; the others are in the middle."""
    row, column = dimensions
    places = np.linspace(-REACH, REACH, steps)
    grid = np.tile(cloud.middle, (steps * steps, 1))
    grid[:, row] += np.repeat(places, steps) * cloud.deviations[row]
    grid[:, column] += np.tile(places, steps) * cloud.deviations[column]
    return grid.astype(np.float32)


def plane(corners: Latents, steps: int) -> Latents:
    """A grid between four latents (4, latents): upper left, upper right, lower left, lower right; line by line."""
    if len(corners) != 4:
        raise ValueError(f"A plane has four corners, not {len(corners)}.")
    down, right = (grid.reshape(-1, 1) for grid in np.mgrid[0 : 1 : steps * 1j, 0 : 1 : steps * 1j])
    weights = np.hstack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
    return np.asarray(weights @ corners, dtype=np.float32)
