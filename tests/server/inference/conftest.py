"""What the protocol's tests share: Triton's own clients of a running server, and their refusals."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.server.conftest import Running
from tests.server.inference.wire import Rpc


@pytest.fixture
async def client(server: Running) -> AsyncIterator[Any]:
    """Triton's asynchronous client of the server."""
    async with triton_aio.InferenceServerClient(server.address) as client:
        yield client


@pytest.fixture
async def blocking_client(server: Running) -> AsyncIterator[Any]:
    """Triton's blocking client; call it with `asyncio.to_thread`, because the server runs in this thread."""
    client = triton.InferenceServerClient(server.address)
    try:
        yield client
    finally:
        await asyncio.to_thread(client.close)


@pytest.fixture
def rpc(server: Running) -> Rpc:
    """The protocol's RPCs, field by field."""
    return Rpc(server.channel)


async def refusal(call: Awaitable[Any]) -> tuple[str, str]:
    """The status and the sentence with which a call is refused."""
    with pytest.raises(InferenceServerException) as refused:
        await call
    return refused.value.status().removeprefix("StatusCode."), refused.value.message()
