"""Latent messages ↔ arrays."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smalti.errors import InvalidRequest
from smalti.v1 import types_pb2


def read(messages: Sequence[types_pb2.Latent], size: int) -> NDArray[np.float32]:
    """The latents (images, size) of a request; raises InvalidRequest for another size or a value that is not finite."""
    for message in messages:
        if len(message.values) != size:
            raise InvalidRequest(
                f"A latent has {len(message.values)} values, this model's have {size}.", field="latents"
            )
    latents = np.array([message.values for message in messages], dtype=np.float32)
    if not np.isfinite(latents).all():
        raise InvalidRequest("A latent has a value that is not a finite number.", field="latents")
    return latents


def write(latents: NDArray[np.float32]) -> list[types_pb2.Latent]:
    """Latents (images, size) as messages."""
    return [types_pb2.Latent(values=values) for values in latents.tolist()]
