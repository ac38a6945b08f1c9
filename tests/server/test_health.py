import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server import health
from server.address import parse_address
from smalti.errors import SettingsInvalid
from tests.server.conftest import SERVING, Running

EVERYTHING = (
    "",
    "smalti.v1.ImageService",
    "smalti.v1.JobService",
    "smalti.v1.ModelService",
    "toy-vae",
    "toy-gan",
    "toy-pixel-rnn",
)


async def test_every_service_and_every_model_has_its_health(server: Running):
    assert [await server.status(service) for service in EVERYTHING] == ["SERVING"] * len(EVERYTHING)
    assert await server.status("no-such-service") == "NOT_FOUND"


async def test_health_can_be_watched_until_the_server_stops(server: Running):
    watcher = aiter(server.health.Watch(health_pb2.HealthCheckRequest()))
    assert (await anext(watcher)).status == SERVING
    stopping = asyncio.create_task(server.application.stop())
    assert (await anext(watcher)).status == health_pb2.HealthCheckResponse.NOT_SERVING
    await asyncio.wait_for(stopping, timeout=5)  # the watcher does not use up the grace of ten seconds


async def test_reflection_names_the_services(server: Running):
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([request]))
    reply = await anext(aiter(call))
    names = {service.name for service in reply.list_services_response.service}
    assert {"smalti.v1.ImageService", "smalti.v1.JobService", "smalti.v1.ModelService"} <= names
    assert "grpc.health.v1.Health" in names
    call.cancel()


async def test_the_probe_says_whether_the_server_is_ready(server: Running):
    assert await asyncio.to_thread(health.ask, server.address) == "SERVING"
    await server.application.catalogue.close()
    await server.application.stop()
    assert "no answer" in await asyncio.to_thread(health.ask, server.address)


def test_the_probe_asks_this_machine_where_the_server_listens_everywhere(monkeypatch):
    monkeypatch.setenv("SMALTI_LISTEN", "0.0.0.0:7777")
    assert health.default_address() == "127.0.0.1:7777"


@pytest.mark.parametrize("text", ["", "50051", "host", "host:", ":1", "host:99999", "host:-1"])
def test_an_address_that_is_none_is_refused_with_an_example(text):
    with pytest.raises(SettingsInvalid, match=r"127\.0\.0\.1:50051"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
    ],
)
def test_only_loopback_addresses_pass_for_this_machine(text, loopback):
    assert parse_address(text).is_loopback is loopback
    assert parse_address(text).text == text


async def test_unknown_methods_are_unimplemented_and_make_no_metric(server: Running):
    call: Any = server.channel.unary_unary("/smalti.v1.ImageService/Invented")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
