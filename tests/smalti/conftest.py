"""A real gRPC server whose answers each test sets."""

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import (
    code_pb2,
    error_details_pb2,
    status_pb2,
)
from grpc_status import rpc_status

from local.ports import free_port
from smalti.v1 import admin_pb2_grpc, images_pb2_grpc, jobs_pb2_grpc, models_pb2, models_pb2_grpc

Answer = Callable[[Any], Any]
PALETTE = ("#000000", "#ff0000", "#00ff00", "#0000ff")


class CannedServer:
    """Answers each RPC by calling the function in `answers` under its name, such as JobService/Get."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.answers: dict[str, Answer] = {"ModelService/Get": lambda request: a_model(request.name)}
        self.requests: list[Any] = []
        self.metadata: list[tuple[str, dict[str, Any]]] = []  # method and metadata of each request
        self.start()

    def start(self) -> None:
        """Serve on the same port as before, and never share it with another server."""
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        for name, service in SERVICES.items():
            service(_servicer(self, name), self._server)
        port = self._server.add_insecure_port(self.address)
        assert port, "the port is taken"
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        """Cut off every call."""
        self._server.stop(grace=None).wait()

    def respond(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        """Give the test's answer, or raise its refusal."""
        self._record(method, request, context)
        try:
            return self.answers[method](request)
        except Refusal as refusal:
            context.abort_with_status(rpc_status.to_status(refusal.status))

    def stream(self, method: str, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """The same for a streaming RPC."""
        self._record(method, request, context)
        try:
            yield from self.answers[method](request)
        except Refusal as refusal:
            context.abort_with_status(rpc_status.to_status(refusal.status))

    def _record(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.metadata.append((method, dict(context.invocation_metadata())))


class Refusal(Exception):
    """A status with details, as server/errors.py makes them."""

    def __init__(
        self, code: str, reason: str, message: str, *, retry: float = 0, field: str = "", request_id: str = ""
    ) -> None:
        super().__init__(message)
        details: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="smalti")]
        if retry:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(round(retry * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        if field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=field)
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        if request_id:
            details.append(error_details_pb2.RequestInfo(request_id=request_id))
        self.status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message)
        self.status.details.extend(_packed(detail) for detail in details)


SERVICES: dict[str, Callable[[Any, grpc.Server], None]] = {
    "ImageService": images_pb2_grpc.add_ImageServiceServicer_to_server,
    "JobService": jobs_pb2_grpc.add_JobServiceServicer_to_server,
    "ModelService": models_pb2_grpc.add_ModelServiceServicer_to_server,
    "AdminService": admin_pb2_grpc.add_AdminServiceServicer_to_server,
}
_STREAMS = {"Watch", "Results", "DrawStream"}
_UPLOADS = {"SubmitCompletions"}  # the request is a list of messages


def a_model(name: str) -> models_pb2.GetModelResponse:
    """A model of 2 × 2 pixels and four colours."""
    model = models_pb2.Model(name=name, version=1, family="vae", height=2, width=2, palette=PALETTE)
    return models_pb2.GetModelResponse(model=model, manifest_json='{"figures": {}}')


def _servicer(server: CannedServer, service: str) -> Any:
    class Servicer:
        def __getattr__(self, method: str) -> Any:
            respond = server.stream if method in _STREAMS else server.respond
            read = list if method in _UPLOADS else _unchanged
            return lambda request, context: respond(f"{service}/{method}", read(request), context)

    return Servicer()


def _unchanged(request: Any) -> Any:
    return request


def _packed(detail: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


@pytest.fixture
def server() -> Iterator[CannedServer]:
    """A server that answers with the functions that the test puts into `answers`."""
    canned = CannedServer()
    yield canned
    canned.stop()


@pytest.fixture
def refusal() -> type[Refusal]:
    """The exception that an answer raises to refuse a request."""
    return Refusal
