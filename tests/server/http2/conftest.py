"""A small server for each test, and clients that speak HTTP/2 as they want."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.server.http2.wire import Wire, connect
from tests.server.http2.words import Served, serve

Connect = Callable[..., Awaitable[Wire]]
Serve = Callable[..., Awaitable[Served]]


@pytest.fixture(autouse=True)
def nothing_is_left(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No test of a connection may leave a traceback, in whichever log."""
    yield
    records = [each for phase in ("setup", "call") for each in caplog.get_records(phase)]
    assert not [each.getMessage() for each in records if each.name == "asyncio"]
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err
    assert "bug in smalti" not in said.out + said.err


@pytest.fixture
async def serve_words() -> AsyncIterator[Serve]:
    """`await serve_words(age_seconds=1)` runs a server with these limits until the test ends."""
    started: list[Served] = []

    async def begin(**limits: Any) -> Served:
        started.append(await serve(**limits))
        return started[-1]

    yield begin
    for served in started:
        served.words.release.set()
        await served.server.close(seconds=0)
    await _until_alone()


@pytest.fixture
async def served(serve_words: Serve) -> Served:
    """A server with the usual limits."""
    return await serve_words()


@pytest.fixture
async def connecting(served: Served) -> AsyncIterator[Connect]:
    """`await connecting()` is a new connection to the server; all are closed at the end."""
    made: list[Wire] = []

    async def begin(**more: Any) -> Wire:
        made.append(await connect(more.pop("port", served.port), **more))
        return made[-1]

    yield begin
    for wire in made:
        wire.close()


@pytest.fixture
async def wire(connecting: Connect) -> Wire:
    """A well-behaved connection."""
    return await connecting()


async def _until_alone() -> None:
    """No task of the server outlives it."""
    for _ in range(200):
        tasks = [each for each in asyncio.all_tasks() if "server/" in _place(each)]
        if not tasks:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"tasks are left: {tasks}")


def _place(task: "asyncio.Task[Any]") -> str:
    code = getattr(task.get_coro(), "cr_code", None)
    return code.co_filename if code and "/tests/" not in code.co_filename else ""
