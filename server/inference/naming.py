"""Finds the served graph that a name and a version in the protocol mean: `sprites-vae.decode`, version "1"."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from server.inference.signatures import ModelKind, kinds_of
from server.oneshot.catalogue import Catalogue, ServedModel
from smalti.errors import InvalidRequest, ModelNotFound, RegionNotFound
from smalti.printable import printable
from smalti.runtime.manifest import LARGEST_VERSION
from smalti.runtime.names import DRAW, meant_by, protocol_name

_VERSION = re.compile(r"[0-9]{1,10}")


class ProtocolModel(NamedTuple):
    """One graph of a served version, as clients of the protocol see it: a model of its own."""

    name: str
    version: str
    served: ServedModel
    graph: str
    kind: ModelKind

    @property
    def is_decoupled(self) -> bool:
        """Whether one request may have several responses."""
        return self.graph == DRAW


class ProtocolModels:
    """All graphs that clients of the protocol can ask."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._found: dict[tuple[str, str], ProtocolModel] = {}  # by name and version as clients write them
        self._kinds: dict[ServedModel, dict[str, ModelKind]] = {}
        self._revision = 0  # of the catalogue, to which these belong

    def get(self, name: str, version: str = "") -> ProtocolModel:
        """The model of this name, the latest version if none is given.

        Raises InvalidRequest for what is no version, ModelNotFound, or Unavailable if it may still be loaded.
        """
        self._forget_old()
        found = self._found.get((name, version))
        if found is None:
            found = self._found[name, version] = self._look_for(name, version)
        return found

    def _look_for(self, name: str, version: str) -> ProtocolModel:
        number = version_number(version)
        model, graph = meant_by(name)
        try:
            served = self._catalogue.get(model, number)
        except (ModelNotFound, InvalidRequest):
            raise self._unknown(name, version) from None
        kind = self._kinds_of(served).get(graph)
        if kind is None:
            raise self._unknown(name, version)
        return ProtocolModel(name, str(served.manifest.version), served, graph, kind)

    def _forget_old(self) -> None:
        """Forget what was found before the catalogue changed."""
        if self._revision != self._catalogue.revision:
            self._revision = self._catalogue.revision
            self._found.clear()
            self._kinds.clear()

    def all(self) -> Iterator[ProtocolModel]:
        """Every model, by name and version."""
        self._forget_old()
        for served in self._catalogue.models():
            manifest = served.manifest
            for graph, kind in self._kinds_of(served).items():
                name = protocol_name(manifest.name, graph)
                yield ProtocolModel(name, str(manifest.version), served, graph, kind)

    def versions(self, name: str) -> list[str]:
        """The served versions of a name, ascending; empty if there is none."""
        return [model.version for model in self.all() if model.name == name]

    def _kinds_of(self, served: ServedModel) -> dict[str, ModelKind]:
        """The graphs of a served version, described once."""
        kinds = self._kinds.get(served)
        if kinds is None:
            kinds = self._kinds[served] = kinds_of(served.manifest)
        return kinds

    def _unknown(self, name: str, version: str) -> ModelNotFound:
        """In the words of Triton, which clients search for."""
        which = f" version {version}" if version and self.versions(name) else ""
        return ModelNotFound(f"Request for unknown model: '{printable(name)}'{which} is not found.")


@contextmanager
def named_in_errors(model: ProtocolModel) -> Iterator[None]:
    """Let the sentences of InvalidRequest and RegionNotFound begin with the model's name."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest(f"{model.name}: {error}", field=error.field) from error
    except RegionNotFound as error:
        raise RegionNotFound(f"{model.name}: {error}") from error


def version_number(version: str) -> int:
    """The number in a version's text, 0 for an empty one; raises InvalidRequest for any other text."""
    if not version:
        return 0
    number = int(version) if _VERSION.fullmatch(version) else 0
    if not 1 <= number <= LARGEST_VERSION:
        raise InvalidRequest(
            f"failed to get model version from specified version string '{printable(version)}': "
            f"a version is a whole number from 1 to {LARGEST_VERSION}."
        )
    return number
