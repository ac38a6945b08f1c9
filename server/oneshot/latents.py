"""Points in latent space: random ones, a line between two, a grid through one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smalti.errors import InvalidRequest
from smalti.randomness import normals
from smalti.v1 import types_pb2

Latents = NDArray[np.float32]  # (images, latent size)


def random(seed: int, first_index: int, count: int, size: int) -> Latents:
    """Standard normal latents of images first_index … first_index + count − 1 of a seed."""
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


def read(messages: Sequence[types_pb2.Latent], size: int) -> Latents:
    """Latents of a request; raises InvalidRequest where one has another size, or is not finite."""
    for message in messages:
        if len(message.values) != size:
            raise InvalidRequest(
                f"A latent has {len(message.values)} values, this model's have {size}.", field="latents"
            )
    latents = np.array([message.values for message in messages], dtype=np.float32)
    if not np.isfinite(latents).all():
        raise InvalidRequest("A latent has a value that is not a finite number.", field="latents")
    return latents


def write(latents: Latents) -> list[types_pb2.Latent]:
    """Latents as messages."""
    return [types_pb2.Latent(values=values) for values in latents.tolist()]
