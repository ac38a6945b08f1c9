"""Where the server listens, and what it offers there."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server.address import listening_address
from server.calls import CallLimits
from smalti.errors import SettingsInvalid
from smalti.v1 import images_pb2, types_pb2
from tests.server.conftest import SERVING, Running, StartServer, refused


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("192.0.2.77", "Cannot assign requested address"),
        ("no-such-host.invalid", "there is no host of this name"),
        ("a" * 64 + ".example", "there is no host of this name"),
        ("256.1.1.1", "there is no host of this name"),
    ],
)
async def test_listening_on_a_host_that_is_not_this_machine_fails_with_one_sentence(
    start_server: StartServer, host: str, reason: str
):
    with pytest.raises(SettingsInvalid) as caught:
        async with start_server(listen=f"{host}:0"):
            pass
    assert str(caught.value) == f"SMALTI_LISTEN: cannot listen on {host}:0: {reason}."


@pytest.mark.parametrize(
    "text",
    [
        *("", "50051", "host", "host:", ":1", "host:99999", "host:-1", "host:٣", "unix:/x", "http://host:1"),
        *("::1:50051", "[::1]", "[::1", "::1]:1", "[host]:1", "[]:1", "ho st:1", "host..example:1"),
    ],
)
def test_a_malformed_address_is_refused_with_an_example(text):
    with pytest.raises(SettingsInvalid, match=r"127\.0\.0\.1:50051"):
        listening_address(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("[::ffff:127.0.0.1]:1", True),
        ("[::ffff:192.0.2.1]:1", False),
        ("LOCALHOST:1", True),
    ],
)
def test_only_loopback_addresses_count_as_this_machine(text, loopback):
    assert listening_address(text).is_loopback is loopback
    assert listening_address(text).text == text


async def test_reflection_names_the_services(server: Running):
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([request]))
    reply = await anext(aiter(call))
    names = {service.name for service in reply.list_services_response.service}
    assert {"smalti.v1.ImageService", "smalti.v1.JobService", "smalti.v1.ModelService"} <= names
    assert {"grpc.health.v1.Health", "inference.GRPCInferenceService"} <= names
    call.cancel()


@pytest.mark.parametrize("symbol", ["inference.GRPCInferenceService", "smalti.v1.ImageService"])
async def test_reflection_describes_services_of_both_descriptor_pools(server: Running, symbol: str):
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    call = stub.ServerReflectionInfo(iter([request]))
    reply = await anext(aiter(call))
    files = map(FileDescriptorProto.FromString, reply.file_descriptor_response.file_descriptor_proto)
    assert symbol in {f"{file.package}.{service.name}" for file in files for service in file.service}
    call.cancel()


async def test_unknown_methods_are_unimplemented_and_make_no_metric(server: Running):
    call: Any = server.channel.unary_unary("/smalti.v1.ImageService/Invented")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stream_too_many_on_a_connection_is_refused_and_not_held_back(server: Running):
    most = CallLimits().streams
    request = health_pb2.HealthCheckRequest()
    watching = [server.health.Watch(request, timeout=60) for _ in range(most)]
    replies = await asyncio.gather(*(anext(aiter(watch)) for watch in watching))
    assert {reply.status for reply in replies} == {SERVING}
    refusal = await refused(server.health.Watch(request, timeout=60))
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "SERVER_FULL")
    assert "use another connection" in refusal.message
    draw = images_pb2.DrawRequest(model=types_pb2.ModelVersion(name="toy-vae"))
    assert (await server.images.Draw(draw, timeout=60)).images  # which is no stream
    watching[0].cancel()
    assert (await anext(aiter(server.health.Watch(request, timeout=60)))).status == SERVING
    for watch in watching:
        watch.cancel()
