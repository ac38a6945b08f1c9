"""What a client learns about models: frozen values, which know nothing of gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smalti.client.values.brief import Brief


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model by name; version 0 is the latest."""

    name: str
    version: int = 0
    digest: str = field(default="", compare=False, repr=False)  # in answers: identifies the exact export


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output of a graph; −1 in its shape is any size."""

    name: str
    type: str  # such as float32
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """What a graph takes and gives. If it is batched, the first axis of all tensors is the batch."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    is_batched: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Model(Brief):
    """A version of a model that the server serves. An ONNX file has no images, and so no family, size and palette."""

    name: str
    version: int
    family: str
    variant: str
    height: int
    width: int
    palette: tuple[str, ...]
    graphs: tuple[str, ...]
    latent_size: int
    digest: str
    licence: str
    medium: str = "image"  # tensors: an ONNX file
    signatures: tuple[Graph, ...] = ()  # of its graphs


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelDetails(Brief):
    """A model and its whole manifest: recipe, data, test figures, parity."""

    model: Model
    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in the server's model repository that cannot be served as it is now, and why."""

    place: str  # below the repository's folder, such as sprites-vae/2; empty: the folder itself
    reason: str  # one sentence
    still_served: bool = False  # as it was before its files, or its serving.toml, changed
