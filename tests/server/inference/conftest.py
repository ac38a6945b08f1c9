"""What the protocol's tests share: Triton's own clients of a running server, and their refusals."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from server.oneshot.runner import Runner
from server.oneshot.waiting import Arrays
from tests.server.conftest import Running
from tests.server.inference.wire import Rpc


class Runs:
    """The runs of all graphs: they hang until `go_on` is set. Ask for it before the server, which loads the graphs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        self.sizes: list[int] = []
        run, runs = Runner.__call__, self

        async def hang(self: Runner, inputs: Arrays) -> Arrays:
            runs.sizes.append(len(next(iter(inputs.values()))))
            await runs.go_on.wait()
            return await run(self, inputs)

        monkeypatch.setattr(Runner, "__call__", hang)
        monkeypatch.setattr(Runner, "is_quick", lambda self, entries: False)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """All runs of graphs."""
    return Runs(monkeypatch)


@pytest.fixture
def key() -> Iterator[str]:
    """The key of a file of 4096 bytes under /dev/shm."""
    name = f"smalti-test-{os.getpid()}-{os.urandom(4).hex()}"
    file = Path("/dev/shm") / name
    file.write_bytes(bytes(4096))
    yield f"/{name}"
    file.unlink(missing_ok=True)


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
