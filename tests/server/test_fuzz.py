"""Any bytes and any message get an answer or a status that says what is wrong, and the server goes on."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smalti.v1 import images_pb2, jobs_pb2, models_pb2
from tests.server.conftest import Running

CLEAR = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",  # a drawing that no worker draws
    "UNAVAILABLE",  # a model that was unloaded
}
NAMES = ["toy-vae", "toy-gan", "toy-pixel-rnn", "", "none"]
_INTEGERS = {
    FieldDescriptor.TYPE_UINT32: st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)),
    FieldDescriptor.TYPE_UINT64: st.one_of(st.integers(0, 9), st.integers(0, 2**64 - 1)),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
}


def methods() -> Iterator[MethodDescriptor]:
    for file in (images_pb2, jobs_pb2, models_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            yield from service.methods


METHODS = list(methods())


def values(field: Any) -> st.SearchStrategy[Any]:
    if field.type in _INTEGERS:
        return _INTEGERS[field.type]
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return st.floats(width=32)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.one_of(st.sampled_from(NAMES), st.text(max_size=200))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.one_of(st.just(bytes(20)), st.just(bytes(30)), st.binary(max_size=60))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return st.sampled_from([*field.enum_type.values_by_number, 99])
    return messages(GetMessageClass(field.message_type))


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Messages of a kind, with any values in any of its fields."""
    chosen = {
        field.name: st.lists(values(field), max_size=3) if field.is_repeated else values(field)
        for field in kind.DESCRIPTOR.fields
    }
    return st.fixed_dictionaries({}, optional=chosen).map(lambda fields: kind(**fields))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.removeprefix("smalti.v1."))
async def test_any_message_gets_an_answer_or_a_clear_status(server: Running, method: MethodDescriptor):
    loop = asyncio.get_running_loop()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(request=messages(GetMessageClass(method.input_type)))
    def ask(request: Message) -> None:
        answer = asyncio.run_coroutine_threadsafe(_send(server, method, request.SerializeToString()), loop)
        assert answer.result(30) in CLEAR | {"OK"}

    await asyncio.to_thread(ask)
    assert await server.status("smalti.v1.ImageService") == "SERVING"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.removeprefix("smalti.v1."))
async def test_any_bytes_get_an_answer_or_a_clear_status(server: Running, method: MethodDescriptor):
    loop = asyncio.get_running_loop()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.binary(max_size=100))
    def ask(data: bytes) -> None:
        answer = asyncio.run_coroutine_threadsafe(_send(server, method, data), loop)
        assert answer.result(30) in CLEAR | {"OK"}

    await asyncio.to_thread(ask)


async def _send(server: Running, method: MethodDescriptor, data: bytes) -> str:
    """The name of the status that an RPC ends with; endless streams are cancelled soon."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    channel: Any = server.channel
    try:
        if method.server_streaming:
            call = channel.unary_stream(path)(data, timeout=0.3)
            _ = [response async for response in call]
        else:
            await channel.unary_unary(path)(data, timeout=20)
    except grpc.aio.AioRpcError as error:
        return str(error.code().name) if error.details() else "A STATUS WITHOUT A WORD"
    return "OK"
