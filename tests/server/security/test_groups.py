"""The table of what each RPC needs is complete, and holds for every RPC that is served."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server.inference import protocol
from server.security.admission import Admission
from server.security.groups import NEEDS
from server.security.tokens import Tokens
from smalti.errors import NotPermitted
from smalti.v1 import admin_pb2, images_pb2, jobs_pb2, models_pb2
from tests.server.conftest import Running
from tests.server.security.conftest import GROUPS, bearer

PATHS = [(service, method, need) for service, methods in NEEDS.items() for method, need in methods.items()]
GUARDED = [(service, method) for service, method, need in PATHS if need != "nothing"]


async def served(server: Running) -> dict[str, set[str]]:
    """The methods of each service, as reflection describes them."""
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)

    async def ask(**question: str) -> Any:
        request = reflection_pb2.ServerReflectionRequest(**question)
        return await anext(aiter(stub.ServerReflectionInfo(iter([request]), metadata=bearer("ada"))))

    listed = await ask(list_services="")
    names = [service.name for service in listed.list_services_response.service]
    replies = [await ask(file_containing_symbol=name) for name in names]
    files = [
        FileDescriptorProto.FromString(file)
        for reply in replies
        for file in reply.file_descriptor_response.file_descriptor_proto
    ]
    return {
        f"{file.package}.{service.name}": {method.name for method in service.method}
        for file in files
        for service in file.service
    }


async def test_the_table_has_every_rpc_of_every_service_and_no_other(guarded: Running):
    assert await served(guarded) == {service: set(methods) for service, methods in NEEDS.items()}


def described() -> Iterator[tuple[str, str]]:
    for module in (admin_pb2, images_pb2, jobs_pb2, models_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from ((service.full_name, method.name) for method in service.methods)
    yield from ((protocol.SERVICE, method.name) for method in protocol.METHODS)


@pytest.mark.parametrize(("service", "method"), list(described()))
def test_a_new_rpc_of_proto_needs_an_entry_in_the_table(service: str, method: str):
    assert method in NEEDS[service]


async def code(server: Running, path: str, **metadata: Any) -> grpc.StatusCode:
    """How a call with one empty request is answered.

    The request goes out together with the call: grpc.aio says INTERNAL to a client that writes into a refused stream.
    """
    method: Any = server.channel.unary_stream(path)
    call = method(b"", timeout=10, **metadata)
    try:
        async for _ in call:
            break
    except grpc.aio.AioRpcError as error:
        return error.code()
    call.cancel()
    return grpc.StatusCode.OK


async def test_without_a_token_every_rpc_is_unauthenticated_whether_it_exists_or_not(guarded: Running):
    wrong = (("authorization", "Bearer nonsense"),)
    for service, method in [*GUARDED, ("smalti.v1.JobService", "Invented"), ("a.B", "C"), ("..", "..")]:
        path = f"/{service}/{method}"
        assert (path, await code(guarded, path)) == (path, grpc.StatusCode.UNAUTHENTICATED)
        assert (path, await code(guarded, path, metadata=wrong)) == (path, grpc.StatusCode.UNAUTHENTICATED)


@pytest.mark.parametrize("client", GROUPS)
async def test_with_any_token_a_method_that_does_not_exist_is_unimplemented(guarded: Running, client: str):
    for path in (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",  # clients try it before v1alpha
        "/smalti.v1.JobService/Invented",
        "/a.B/C",
    ):
        answer = await code(guarded, path, metadata=bearer(client))
        assert (path, answer) == (path, grpc.StatusCode.UNIMPLEMENTED)


async def test_a_method_of_health_that_does_not_exist_is_unimplemented_without_a_token(guarded: Running):
    assert await code(guarded, "/grpc.health.v1.Health/List") is grpc.StatusCode.UNIMPLEMENTED


async def test_an_rpc_that_is_served_but_not_in_the_table_needs_the_group_admin(tokens_file: Path):
    admission = Admission(Tokens(tokens_file))
    assert admission.admit("/smalti.v1.JobService/Forgotten", bearer("root")).name == "root"
    with pytest.raises(NotPermitted, match="lacks the group 'admin'"):
        admission.admit("/smalti.v1.JobService/Forgotten", bearer("bob"))


@pytest.mark.parametrize("client", GROUPS)
async def test_a_token_opens_the_rpcs_of_its_groups_and_no_others(guarded: Running, client: str):
    opened = {"nothing", "any token", *GROUPS[client]}
    for service, method, need in PATHS:
        answer = await code(guarded, f"/{service}/{method}", metadata=bearer(client))
        is_denied = answer is grpc.StatusCode.PERMISSION_DENIED
        assert (service, method, is_denied) == (service, method, need not in opened)
        assert answer is not grpc.StatusCode.UNAUTHENTICATED


async def test_a_drawing_on_a_stream_of_the_protocol_needs_the_group_of_jobs(guarded: Running):
    stream: Any = guarded.channel.stream_stream(
        f"/{protocol.SERVICE}/ModelStreamInfer",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=protocol.ModelStreamInferResponse.FromString,
    )
    request = protocol.ModelInferRequest(model_name="toy-pixel-rnn.draw")
    [response] = [each async for each in stream(iter([request]), metadata=bearer("ada"))]
    assert response.error_message == "The client 'ada' may not do this: its token lacks the group 'jobs'."
