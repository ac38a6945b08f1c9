"""Answers GRPCInferenceService: one method for each RPC of the protocol."""

from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import grpc

from server.context import Context, deadline_of
from server.http2.messages import Message
from server.http2.server import Server
from server.inference import protocol
from server.inference.describing import config_of, metadata_of
from server.inference.inferring import Inferring
from server.inference.naming import ProtocolModels
from server.inference.repository import Repository
from server.inference.responses import Parts
from server.inference.settings import Settings
from server.inference.shared_memory import SharedRegions
from server.inference.statistics import Statistics
from server.inference.streaming import Streaming
from server.readiness import Readiness
from smalti.errors import ModelNotFound, Unavailable, Unsupported

_EXTENSIONS = (
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
    "trace",
)
_STATUS_WANTED = "triton_grpc_error"  # with this metadata, a fault ends a stream with its status


class InferenceService:
    """Turns the protocol's requests into questions to the served graphs, and their answers into responses."""

    def __init__(
        self,
        models: ProtocolModels,
        inferring: Inferring,
        *,
        streaming: Streaming,
        shared: SharedRegions,
        statistics: Statistics,
        repository: Repository,
        settings: Settings,
        readiness: Readiness,
    ) -> None:
        self._models = models
        self._inferring = inferring
        self._streaming = streaming
        self._shared = shared
        self._statistics = statistics
        self._repository = repository
        self._settings = settings
        self._readiness = readiness

    async def ServerLive(self, request: Any, context: Context) -> Any:
        return protocol.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> Any:
        return protocol.ServerReadyResponse(ready=self._readiness.is_ready)

    async def ServerMetadata(self, request: Any, context: Context) -> Any:
        more = ("system_shared_memory",) if self._shared.is_allowed else ()
        return protocol.ServerMetadataResponse(
            name="smalti", version=version("smalti"), extensions=[*_EXTENSIONS, *more]
        )

    async def ModelReady(self, request: Any, context: Context) -> Any:
        try:
            self._models.get(request.name, request.version)
        except (ModelNotFound, Unavailable):
            return protocol.ModelReadyResponse(ready=False)
        return protocol.ModelReadyResponse(ready=True)

    async def ModelMetadata(self, request: Any, context: Context) -> Any:
        model = self._models.get(request.name, request.version)
        return metadata_of(model, self._models.versions(request.name))

    async def ModelConfig(self, request: Any, context: Context) -> Any:
        return config_of(self._models.get(request.name, request.version))

    async def ModelInfer(self, request: Any, context: Context) -> Parts:
        return await self._inferring.infer(request, deadline_of(context))

    def ModelStreamInfer(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Parts]:
        wants_status = (_STATUS_WANTED, "true") in context.metadata
        return self._streaming.answer(requests, deadline_of(context), ends_at_error=wants_status)

    async def ModelStatistics(self, request: Any, context: Context) -> Any:
        return await self._statistics.answer(request)

    async def RepositoryIndex(self, request: Any, context: Context) -> Any:
        return await self._repository.index(request)

    async def RepositoryModelLoad(self, request: Any, context: Context) -> Any:
        return await self._repository.load(request)

    async def RepositoryModelUnload(self, request: Any, context: Context) -> Any:
        return await self._repository.unload(request)

    async def TraceSetting(self, request: Any, context: Context) -> Any:
        return await self._settings.trace(request)

    async def LogSettings(self, request: Any, context: Context) -> Any:
        return await self._settings.log(request)

    async def SystemSharedMemoryStatus(self, request: Any, context: Context) -> Any:
        regions = self._shared.regions.registered(request.name)
        return protocol.SystemSharedMemoryStatusResponse(
            regions={region.name: region.described for region in regions}
        )

    async def SystemSharedMemoryRegister(self, request: Any, context: Context) -> Any:
        await self._shared.register(request.name, request.key, request.offset, request.byte_size)
        return protocol.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(self, request: Any, context: Context) -> Any:
        await self._shared.unregister(request.name)
        return protocol.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(self, request: Any, context: Context) -> Any:
        return protocol.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(self, request: Any, context: Context) -> Any:
        raise Unsupported("This server does not use shared memory of a GPU: register system shared memory.")

    async def CudaSharedMemoryUnregister(self, request: Any, context: Context) -> Any:
        return protocol.CudaSharedMemoryUnregisterResponse()


def add_to(server: Server, service: InferenceService) -> None:
    """Let a server answer the RPCs of the protocol that `service` has; others are answered with UNIMPLEMENTED."""
    handlers = {
        method.name: _handler(method, getattr(service, method.name))
        for method in protocol.METHODS
        if hasattr(service, method.name)
    }
    server.add_registered_method_handlers(protocol.SERVICE, handlers)


def _handler(method: Any, answer: Any) -> Any:
    make: Any = (
        grpc.stream_stream_rpc_method_handler
        if method.client_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    return make(
        answer,
        request_deserializer=protocol.request_class(method).FromString,
        response_serializer=_serialized,
    )


def _serialized(response: Any) -> Message:
    """A response as it is sent; one with tensors comes in parts already, which saves protobuf's copies."""
    return response if isinstance(response, list) else bytes(response.SerializeToString())
