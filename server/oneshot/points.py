"""Points in a model's latent space: random ones, a line between two, a grid through one."""

import numpy as np
from numpy.typing import NDArray

from smalti.randomness import normals

Latents = NDArray[np.float32]  # (images, latent size)


def random(seed: int, first_index: int, count: int, size: int) -> Latents:
    """Standard normal latents of the images first_index … first_index + count − 1 of a seed."""
    return np.stack([normals(seed, first_index + i, size) for i in range(count)])


def between(first: NDArray[np.float32], last: NDArray[np.float32], steps: int) -> Latents:
    """Latents (steps, size) at even steps from one to another, both included."""
    weight = np.linspace(0.0, 1.0, steps, dtype=np.float32)[:, None]
    return np.asarray((1 - weight) * first + weight * last, dtype=np.float32)


def grid(
    centre: NDArray[np.float32], dimensions: tuple[int, int], span: tuple[float, float], steps: int
) -> Latents:
    """Latents (steps², size), row by row: two dimensions over the span, the others as in the centre."""
    values = np.linspace(*span, steps, dtype=np.float32)
    latents = np.tile(centre, (steps * steps, 1))
    latents[:, dimensions[0]] = np.repeat(values, steps)
    latents[:, dimensions[1]] = np.tile(values, steps)
    return latents
