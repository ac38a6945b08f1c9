"""Answers ModelService: lists the served models, loads and unloads them."""

from server.context import Context
from server.messages.descriptions import describe_model
from server.oneshot.catalogue import Catalogue, Unloaded, check_name
from server.readiness import Readiness
from server.siblings import Siblings
from smalti.v1 import models_pb2 as pb
from smalti.v1 import models_pb2_grpc


class ModelService(models_pb2_grpc.ModelServiceServicer):
    """Requests about models."""

    def __init__(self, catalogue: Catalogue, readiness: Readiness, siblings: Siblings) -> None:
        self._catalogue = catalogue
        self._readiness = readiness
        self._siblings = siblings
        siblings.answer("models.load", self._load)
        siblings.answer("models.unload", self._unload)
        siblings.keep("models.unloaded", snapshot=catalogue.unloaded, restore=self._restore)

    async def List(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        self._catalogue.require_started()
        return pb.ListModelsResponse(
            models=[describe_model(model.manifest) for model in self._catalogue.models()],
            left_out=[
                pb.LeftOut(place=each.place, reason=each.reason, still_served=each.still_served)
                for each in self._catalogue.left_out
                if "/" in each.place  # versions of models; the log names whatever else was left out
            ],
        )

    async def Get(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        manifest = self._catalogue.get(request.name, request.version, field="name").manifest
        return pb.GetModelResponse(model=describe_model(manifest), manifest_json=manifest.model_dump_json())

    async def Load(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:
        check_name(request.name, field="name")
        [version, *_] = await self._siblings.tell_all("models.load", [request.name, request.version])
        model = self._catalogue.get(request.name, version, field="name")
        return pb.LoadModelResponse(model=describe_model(model.manifest))

    async def Unload(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:
        check_name(request.name, field="name")
        await self._siblings.tell_all("models.unload", [request.name, request.version])
        return pb.UnloadModelResponse()

    async def _load(self, argument: tuple[str, int]) -> int:
        """Load name and version in this process; returns the version."""
        model = await self._catalogue.load(*argument)
        await self._readiness.set_models(self._catalogue.statuses())
        return model.manifest.version

    async def _unload(self, argument: tuple[str, int]) -> None:
        """Unload name and version in this process."""
        await self._catalogue.unload(*argument)
        await self._readiness.set_models(self._catalogue.statuses())

    async def _restore(self, unloaded: Unloaded) -> None:
        self._catalogue.leave_unloaded(unloaded)
        await self._readiness.set_models({name: False for name, *_ in unloaded})
