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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Model(Brief):
    """A version of a model that the server serves."""

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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelDetails(Brief):
    """A model and its whole manifest: recipe, data, test figures, parity."""

    model: Model
    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in the server's model repository that is not served, and why."""

    place: str  # below the repository's folder, such as sprites-vae/2; empty: the folder itself
    reason: str  # one sentence
