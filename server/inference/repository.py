"""Lists the protocol's models, and loads and unloads them, in all processes of the server.

Every graph is a model of the protocol, but a version is loaded and unloaded as a whole, with all its graphs.
"""

from collections.abc import Collection
from typing import Any

from server.inference import protocol
from server.inference.naming import ProtocolModels
from server.inference.signatures import kinds_of
from server.oneshot.catalogue import Catalogue, Stored
from server.siblings import Siblings
from smalti.errors import InvalidRequest, ModelNotFound, SmaltiError, Unsupported
from smalti.printable import printable
from smalti.runtime.names import TENSORS_GRAPH, meant_by, protocol_name

_READY, _UNAVAILABLE = "READY", "UNAVAILABLE"


class Repository:
    """Answers the RPCs Repository*; `load` and `unload` are commands that ModelService answers in each process."""

    def __init__(self, models: ProtocolModels, catalogue: Catalogue, siblings: Siblings) -> None:
        self._models = models
        self._catalogue = catalogue
        self._siblings = siblings

    async def index(self, request: Any) -> Any:
        """Every model; with `ready` only those that are served. The others say why they are not."""
        _refuse_repository(request)
        models = [_entry(model.name, model.version, _READY) for model in self._models.all()]
        if not request.ready:
            models += [
                _entry(name, str(stored.number), _UNAVAILABLE, stored.reason)
                for stored in await self._catalogue.not_served()
                for name in _names(stored)
            ]
        return protocol.RepositoryIndexResponse(models=sorted(models, key=_place))

    async def load(self, request: Any) -> Any:
        """Load every version of the smalti model that has this graph, as its files are now.

        Versions that cannot be served are left out. Raises ModelNotFound, or the latest version's error if none can.
        """
        _refuse_repository(request)
        _refuse_overrides(request.parameters)
        model, numbers = await self._find(request.model_name)
        faults = [fault for number in numbers if (fault := await self._load(model, number))]
        if len(faults) == len(numbers):
            raise faults[-1]
        return protocol.RepositoryModelLoadResponse()

    async def unload(self, request: Any) -> Any:
        """Unload the smalti model that has this graph: all its versions, with all their graphs.

        So it makes no difference whether dependents are unloaded, too. Raises ModelNotFound for an unknown name.
        """
        _refuse_repository(request)
        _check_unload_parameters(request.parameters)
        if self._models.versions(request.model_name):
            model, _ = meant_by(request.model_name)
            await self._siblings.tell_all("models.unload", [model, 0])
        else:
            await self._find(request.model_name)
        return protocol.RepositoryModelUnloadResponse()

    async def _load(self, model: str, number: int) -> SmaltiError | None:
        try:
            await self._siblings.tell_all("models.load", [model, number])
        except SmaltiError as error:
            return error
        return None

    async def _find(self, name: str) -> tuple[str, list[int]]:
        """The smalti model that has this graph, and the versions in the repository that have it or cannot be read."""
        model, graph = meant_by(name)
        versions = await self._catalogue.stored(model)
        numbers = [stored.number for stored in versions if graph in (_graphs(stored) or [graph])]
        if not numbers:
            raise ModelNotFound(f"failed to load '{printable(name)}', failed to poll from model repository.")
        return model, numbers


def _entry(name: str, version: str, state: str, reason: str = "") -> Any:
    return protocol.RepositoryIndexResponse.ModelIndex(name=name, version=version, state=state, reason=reason)


def _names(stored: Stored) -> list[str]:
    """The protocol's models in a version; its own name where its graphs cannot be known."""
    return [protocol_name(stored.name, graph) for graph in _graphs(stored)] or [stored.name]


def _graphs(stored: Stored) -> Collection[str]:
    """The graphs of a version that clients can ask; empty where its manifest cannot be read."""
    if not stored.has_manifest:
        return [TENSORS_GRAPH]
    return kinds_of(stored.manifest) if stored.manifest else []


def _place(entry: Any) -> tuple[str, int]:
    return entry.name, int(entry.version)


def _refuse_repository(request: Any) -> None:
    if request.repository_name:
        raise Unsupported("'repository_name' specification is not supported: there is one model repository.")


def _refuse_overrides(parameters: Any) -> None:
    """Refuse every parameter of a load: the only ones that the protocol knows bring a model with the request."""
    for name in parameters:
        if name == "config" or name.startswith("file:"):
            raise InvalidRequest(
                f"The parameter '{printable(name)}' cannot be used: models come from the model repository only, so put "
                "the files there and load without it.",
                field="parameters",
            )
        raise _unknown(name, "load")


def _check_unload_parameters(parameters: Any) -> None:
    for name, value in parameters.items():
        if name != "unload_dependents":
            raise _unknown(name, "unload")
        if value.WhichOneof("parameter_choice") != "bool_param":
            raise InvalidRequest(
                "invalid value type for 'unload_dependents' parameter, expected bool_param.",
                field="parameters",
            )


def _unknown(name: str, action: str) -> InvalidRequest:
    return InvalidRequest(f"There is no {action} parameter '{printable(name)}'.", field="parameters")
