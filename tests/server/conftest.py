"""What the server's tests share: a whole server in this process, with toy models, a real Redis and real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from server.address import listening_address
from server.application import Application
from server.stores import open_stores
from smalti.client.channel import Connection
from smalti.client.health import ask
from smalti.runtime import logs
from smalti.runtime.settings import ServerSettings
from smalti.v1 import admin_pb2_grpc, images_pb2_grpc, jobs_pb2_grpc, models_pb2_grpc
from tests.queues import Queues, queues_of
from tests.server.hand_worker import HandWorker
from tests.server.several import Several
from tests.server.toys import write_gan, write_vae
from tests.toy_model import write_toy_model

StartSeveral = Callable[..., Several]
SERVING = health_pb2.HealthCheckResponse.SERVING
StartServer = Callable[..., AbstractAsyncContextManager["Running"]]


class Running:
    """A server that runs in this process, and stubs of all its services."""

    def __init__(
        self, application: Application, queue: Queues, address: str, channel: grpc.aio.Channel
    ) -> None:
        self.application = application
        self.queue = queue
        self.channel = channel
        self.address = address
        self.images: Any = images_pb2_grpc.ImageServiceStub(channel)
        self.jobs: Any = jobs_pb2_grpc.JobServiceStub(channel)
        self.models: Any = models_pb2_grpc.ModelServiceStub(channel)
        self.admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    async def status(self, service: str = "") -> str:
        """The health of a service."""
        try:
            reply = await self.health.Check(health_pb2.HealthCheckRequest(service=service))
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


@pytest.fixture(autouse=True, scope="session")
def _short_logs() -> None:
    logs.configure(level="info", form="text")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with one toy of each kind."""
    write_toy_model(tmp_path / "models")
    write_vae(tmp_path / "models")
    write_gan(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def start_server(repository: Path, redis_url: str, until) -> StartServer:
    """`async with start_server(max_images=3) as server` runs one with these settings until the block ends."""

    @asynccontextmanager
    async def start(
        *, ready: str | None = "", credentials: grpc.ChannelCredentials | None = None, **given: Any
    ) -> AsyncIterator[Running]:
        usual: dict[str, Any] = {
            "redis_url": redis_url,
            "model_repository": repository,
            "listen": "127.0.0.1:0",
        }
        settings = ServerSettings(**usual | given)
        with ThreadPoolExecutor(2) as pool:
            async with open_stores(settings) as stores:
                application = Application(settings, stores, pool)
                address = replace(listening_address(settings.listen), port=application.port)
                serving = asyncio.create_task(application.serve())
                try:
                    connection = Connection.to(address.text, credentials=credentials)
                    async with connection.async_channel() as channel:
                        running = Running(application, queues_of(stores.users.all[0]), address.text, channel)
                        if ready is not None:
                            await until(lambda: _has_status(running, ready, serving), seconds=60)
                        yield running
                finally:
                    serving.cancel()
                    await asyncio.gather(serving, return_exceptions=True)
                    await application.stop()

    return start


@pytest.fixture
async def server(start_server: StartServer) -> AsyncIterator[Running]:
    """A server that is ready."""
    async with start_server() as running:
        yield running


@pytest.fixture
def start_several(repository: Path, redis_url: str, tmp_path: Path) -> Iterator[StartSeveral]:
    """Starts servers of two processes with SMALTI_ variables, and kills what still runs at the end."""
    started: list[Several] = []

    def begin(**variables: str) -> Several:
        settings = {
            "SMALTI_SERVER_PROCESSES": "2",
            "SMALTI_LISTEN": "127.0.0.1:0",
            "SMALTI_METRICS_PORT": "0",
            "SMALTI_REDIS_URL": redis_url,
            "SMALTI_MODEL_REPOSITORY": str(repository),
        }
        started.append(Several(settings | variables, tmp_path / f"log-{len(started)}"))
        return started[-1]

    yield begin
    for each in started:
        each.end()


@pytest.fixture
async def several(start_several: StartSeveral, until) -> Several:
    """A server of two processes that is ready."""
    several = start_several()
    await until(several.has_started, seconds=60)
    await until(lambda: _is_ready(several.address), seconds=10)
    return several


async def _is_ready(address: str) -> bool:
    return await asyncio.to_thread(ask, address) == "SERVING"


@pytest.fixture
def hand_worker(server: Running) -> HandWorker:
    """Draws the server's jobs when a test says so."""
    return HandWorker(server.queue.workers, [model.digest for model in server.application.catalogue.models()])


async def _has_status(running: Running, service: str, serving: "asyncio.Task[None]") -> bool:
    if serving.done():
        serving.result()
    return await running.status(service) == "SERVING"


class Refusal:
    """How an RPC was refused: code, sentence, and the google.rpc details, decoded."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code().name
        self.message = error.details() or ""
        status = rpc_status.from_call(error)
        found = {detail.TypeName(): detail for detail in (status.details if status else ())}
        self.reason = _unpack(found, error_details_pb2.ErrorInfo()).reason
        self.domain = _unpack(found, error_details_pb2.ErrorInfo()).domain
        self.retry_seconds = _unpack(found, error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() / 1000
        violations = _unpack(found, error_details_pb2.BadRequest()).field_violations
        self.fields = [violation.field for violation in violations]


def _unpack(found: dict[str, Any], detail: Any) -> Any:
    if detail.DESCRIPTOR.full_name in found:
        found[detail.DESCRIPTOR.full_name].Unpack(detail)
    return detail


async def refused(call: Any) -> Refusal:
    """The refusal of a call that must fail, unary or streaming."""
    try:
        _ = [response async for response in call] if hasattr(call, "__aiter__") else await call
    except grpc.aio.AioRpcError as error:
        return Refusal(error)
    pytest.fail("the call was answered")
