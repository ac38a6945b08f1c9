"""Chooses places in a latent space: where images lie, between them, and beside them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REACH = 2.5  # of a sweep, in standard deviations: 98.8 % of a normal distribution lies within

Latents = NDArray[np.float32]  # (images, latents)


@dataclass(frozen=True, slots=True)
class Cloud:
    """The latents of images, as far as a normal distribution tells them."""

    middle: NDArray[np.float64]  # (latents,)
    covariance: NDArray[np.float64]  # (latents, latents)

    @classmethod
    def of(cls, means: Latents) -> "Cloud":
        """Of the encoder's means: (images, latents)."""
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
    """The middles of so many random pairs of different images."""
    first = rng.integers(len(means), size=count)
    second = (first + rng.integers(1, len(means), size=count)) % len(means)
    return np.asarray((means[first] + means[second]) / 2, dtype=np.float32)


def swept(cloud: Cloud, count: int, rng: np.random.Generator) -> Latents:
    """Anywhere on sweeps: two random dimensions evenly over ±REACH deviations, the others in the middle."""
    size = len(cloud.middle)
    chosen = np.argsort(rng.random((count, size)), axis=1)[:, :2]  # two different ones each
    moved = np.zeros((count, size))
    np.put_along_axis(moved, chosen, rng.uniform(-REACH, REACH, (count, 2)), axis=1)
    return np.asarray(cloud.middle + moved * cloud.deviations, dtype=np.float32)


def fitted(cloud: Cloud, count: int, rng: np.random.Generator) -> Latents:
    """From the normal distribution with the images' own mean and covariance."""
    return rng.multivariate_normal(cloud.middle, cloud.covariance, count).astype(np.float32)


def prior(size: int, count: int, rng: np.random.Generator) -> Latents:
    """From N(0, 1), as a VAE is drawn from."""
    return rng.standard_normal((count, size), dtype=np.float32)


def sweep(cloud: Cloud, dimensions: tuple[int, int], steps: int) -> Latents:
    """A grid over ±REACH deviations in two dimensions, row by row, the others in the middle."""
    row, column = dimensions
    places = np.linspace(-REACH, REACH, steps)
    grid = np.tile(cloud.middle, (steps * steps, 1))
    grid[:, row] += np.repeat(places, steps) * cloud.deviations[row]
    grid[:, column] += np.tile(places, steps) * cloud.deviations[column]
    return grid.astype(np.float32)


def plane(corners: Latents, steps: int) -> Latents:
    """A grid between four latents (4, latents): upper left, upper right, lower left, lower right; row by row."""
    if len(corners) != 4:
        raise ValueError(f"A plane has four corners, not {len(corners)}.")
    down, right = (grid.reshape(-1, 1) for grid in np.mgrid[0 : 1 : steps * 1j, 0 : 1 : steps * 1j])
    weights = np.hstack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
    return np.asarray(weights @ corners, dtype=np.float32)
