"""Requests with long or unusual text get a status that the client's gRPC can read."""

import asyncio
import io
from collections.abc import Callable
from itertools import product
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from PIL import Image as pillow

from smalti.client import AsyncClient, Client
from smalti.client.values import Completion
from smalti.errors import ImageRefused, InvalidRequest, JobNotFound, ModelNotFound, SmaltiError
from tests.any_messages import CLEAR, OWN, PROTOCOL, Rpc
from tests.server.conftest import Refusal, Running

WORDS = ["界" * 50_000, "é" * 3_000, "😀" * 1_500, "%" * 9_000, "x" * 100_000, "\n\0\x1b[31m" * 2_000]
TOY = "toy-pixel-rnn"


def with_text(kind: type[Message], text: str) -> Message:
    """A message with this text in every text field."""
    message = kind()
    for field in _fields(kind.DESCRIPTOR):
        if field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, text)
        elif field.message_type and field.message_type.full_name == "smalti.v1.ModelVersion":
            getattr(message, field.name).name = text
    return message


def _fields(descriptor: Any) -> list[FieldDescriptor]:
    return [field for field in descriptor.fields if not field.is_repeated]


async def test_long_text_in_any_request_is_answered_with_a_clear_status(server: Running):
    for rpc, text in product([*OWN, *PROTOCOL], WORDS):
        request = with_text(rpc.request, text)
        error = await _ask(server.channel, rpc, request.SerializeToString())
        if error is not None:
            refusal = Refusal(error)
            assert refusal.code in CLEAR, (rpc.name, text[:9])
            assert refusal.reason or refusal.code == "UNIMPLEMENTED"
            assert refusal.message


async def _ask(channel: Any, rpc: Rpc, data: bytes) -> grpc.aio.AioRpcError | None:
    try:
        if rpc.method.client_streaming:
            _ = [response async for response in channel.stream_stream(rpc.path)([data], timeout=5)]
        elif rpc.method.server_streaming:
            _ = [response async for response in channel.unary_stream(rpc.path)(data, timeout=5)]
        else:
            await channel.unary_unary(rpc.path)(data, timeout=5)
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def test_both_clients_raise_not_found_for_a_long_name(server: Running):
    def ask(word: str) -> None:
        with Client(server.address) as client:
            _assert_short(InvalidRequest, lambda: client.draw(word))
            _assert_short(ModelNotFound, lambda: client.draw(word[:63]))
            _assert_short(ModelNotFound, lambda: list(client.draw_stream(word[:63])))
            _assert_short(InvalidRequest, lambda: client.submit(TOY, request_id=word))
            _assert_short(JobNotFound, lambda: client.get_job(word))
            _assert_short(JobNotFound, lambda: list(client.watch(word)))
            _assert_short(JobNotFound, lambda: client.cancel(word))

    async with AsyncClient(server.address) as async_client:
        for word in WORDS:
            await asyncio.to_thread(ask, word)
            with pytest.raises(ModelNotFound):
                await async_client.draw(word[:63])
            with pytest.raises(JobNotFound):
                await async_client.get_job(word)


def _assert_short(kind: type[SmaltiError], ask: Callable[[], Any]) -> None:
    with pytest.raises(kind) as caught:
        ask()
    assert 0 < len(str(caught.value)) <= 1500


async def test_a_refusal_of_an_unreadable_png_has_no_object_addresses(server: Running):
    good = io.BytesIO()
    pillow.new("RGB", (5, 6)).save(good, "PNG")
    for data in (good.getvalue()[:24], good.getvalue()[:40] + b"?" * 40, b"\x89PNG\r\n\x1a\n" + b"?" * 40):
        async with AsyncClient(server.address) as client:
            with pytest.raises(ImageRefused) as caught:
                await client.encode("toy-vae", [data])
            assert "0x" not in str(caught.value)
            with pytest.raises(ImageRefused) as caught:
                await client.submit(TOY, completion=Completion(image=data, rows=1))
            assert "0x" not in str(caught.value)


async def test_arbitrary_metadata_does_no_harm(server: Running):
    call: Any = server.channel.unary_unary("/smalti.v1.ModelService/List")
    for metadata in ((("x-bin", bytes(range(256))),), (("x-request-id", "~!%00 %ff"),)):
        await call(b"", metadata=metadata)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"", metadata=(("x", "y" * 100_000),))
    assert caught.value.code().name in CLEAR
