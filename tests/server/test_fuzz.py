"""Any bytes and any message get an answer or a status that says what is wrong, and the server goes on."""

import asyncio
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.any_messages import CLEAR, OWN, PROTOCOL, Rpc, messages
from tests.server.conftest import Running

ALL = pytest.mark.parametrize("rpc", [*OWN, *PROTOCOL], ids=lambda rpc: rpc.name)


@ALL
async def test_any_message_gets_an_answer_or_a_clear_status(server: Running, rpc: Rpc):
    loop = asyncio.get_running_loop()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(request=messages(rpc.request))
    def ask(request: Any) -> None:
        answer = asyncio.run_coroutine_threadsafe(_send(server, rpc, request.SerializeToString()), loop)
        assert answer.result(30) in CLEAR | {"OK"}

    await asyncio.to_thread(ask)
    assert await server.status("smalti.v1.ImageService") == "SERVING"


@ALL
async def test_any_bytes_get_an_answer_or_a_clear_status(server: Running, rpc: Rpc):
    loop = asyncio.get_running_loop()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.binary(max_size=100))
    def ask(data: bytes) -> None:
        answer = asyncio.run_coroutine_threadsafe(_send(server, rpc, data), loop)
        assert answer.result(30) in CLEAR | {"OK"}

    await asyncio.to_thread(ask)


async def _send(server: Running, rpc: Rpc, data: bytes) -> str:
    """The name of the status that an RPC ends with; endless streams are cancelled soon."""
    channel: Any = server.channel
    try:
        if rpc.method.client_streaming:
            call = channel.stream_stream(rpc.path)([data], timeout=0.3)
            _ = [response async for response in call]
        elif rpc.method.server_streaming:
            call = channel.unary_stream(rpc.path)(data, timeout=0.3)
            _ = [response async for response in call]
        else:
            await channel.unary_unary(rpc.path)(data, timeout=20)
    except grpc.aio.AioRpcError as error:
        return str(error.code().name) if error.details() else "A STATUS WITHOUT A WORD"
    return "OK"
