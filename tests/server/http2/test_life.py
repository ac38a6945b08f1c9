"""A server that stops, and connections that grow old: streams go on, and no call is lost."""

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from server.http2.connection import Connection
from tests.server.http2.conftest import Connect, Serve
from tests.server.http2.wire import Wire, connect, message
from tests.server.http2.words import COUNT, ECHO, IDLE, POUR, TALK, WAIT, Served

OK, UNAVAILABLE = 0, 14
ALL = 2**31 - 1  # the last stream, where a server only says that it retires


@pytest.mark.parametrize("path", [WAIT, IDLE, COUNT, TALK])
async def test_calls_that_run_when_the_server_closes_get_a_status(
    served: Served, wire: Wire, until, path: str
):
    streams = [wire.call(path) for _ in range(10)]
    for stream in streams:
        wire.send(stream, message(b"ab"), end=path == WAIT)
    await until(lambda: served.gate.running == 10)
    await served.server.close(seconds=5)
    for stream in streams:
        answer = await wire.answer(stream)
        assert (answer.status, answer.said) == (UNAVAILABLE, "The server is stopping.")
    assert served.gate.running == 0
    assert wire.goaways


async def test_a_server_closes_in_spite_of_responses_that_nobody_reads(
    served: Served, connecting: Connect, until
):
    closed = await connecting(window=0)
    closed.call(POUR, body=message(b"1000 60000"))
    deaf = await connecting(window=2**31 - 1)
    await deaf.until(lambda: deaf.events)
    deaf.call(POUR, body=message(b"1000 60000"))
    deaf.transport.pause_reading()
    await until(lambda: all(each._waiting for each in served.connections))
    await served.server.close(seconds=0.1)
    assert not served.connections
    await until(lambda: served.gate.running == 0)


async def test_a_server_closes_in_spite_of_clients_that_do_not_greet(
    served: Served, connecting: Connect, until
):
    for _ in range(5):
        await connecting(greets=False)
    await until(lambda: len(served.connections) == 5)
    await served.server.close(seconds=0.1)
    assert not served.connections


async def test_a_server_that_stops_takes_no_connections_and_finishes_its_calls(
    served: Served, wire: Wire, until
):
    stream = wire.call(WAIT, body=message(b"ab"))
    await until(lambda: served.words.begun)
    await served.server.stop_accepting()
    with pytest.raises(ConnectionRefusedError):
        await connect(served.port)
    await wire.until(lambda: len(wire.goaways) == 2)  # retires, and has retired: the client has answered
    served.words.release.set()
    assert (await wire.answer(stream)).messages == [b"ab"]
    await wire.gone()


async def test_an_old_connection_asks_its_client_to_use_another_one_and_its_streams_go_on(
    serve_words: Serve, connecting: Connect
):
    served = await serve_words(age_seconds=0.1)
    wire = await connecting(port=served.port)
    stream = wire.call(TALK)
    wire.send(stream, message(b"ab"))
    await wire.until(lambda: len(wire.goaways) == 2)
    assert [last for last, _, _ in wire.goaways] == [ALL, stream]
    wire.send(stream, message(b"cd"), end=True)
    assert (await wire.answer(stream)).messages == [b"ab", b"cd"]
    await wire.gone()


async def test_calls_that_were_on_their_way_when_a_connection_retired_are_answered(
    served: Served, wire: Wire, until
):
    [connection] = await until(lambda: served.connections)
    await until(lambda: connection._has_greeted)
    sent = wire.transport.write
    held: list[bytes] = []
    wire.transport.write = held.append  # type: ignore[method-assign,assignment]  # given a slow line
    stream = wire.call(ECHO, body=message(b"ab"))
    connection.retire()
    await wire.until(lambda: wire.goaways)
    wire.transport.write = sent  # type: ignore[method-assign]
    sent(b"".join(held))
    assert (await wire.answer(stream)).messages == [b"ab"]
    await wire.gone()


@pytest.mark.parametrize("callers", [1, 20])
async def test_no_call_is_lost_when_connections_retire_again_and_again(serve_words: Serve, callers: int):
    served = await serve_words(age_seconds=0.05)
    async with grpc.aio.insecure_channel(served.address) as channel:
        ask: Any = channel.unary_unary(ECHO)

        made: set[Connection] = set()

        async def call() -> None:
            while len(made) < 8:
                assert await ask(b"ab") == b"ab"
                made.update(served.connections)

        await asyncio.gather(*(call() for _ in range(callers)))


async def test_streams_of_an_old_connection_go_on_while_new_calls_use_another(serve_words: Serve):
    served = await serve_words(age_seconds=0.1)
    async with grpc.aio.insecure_channel(served.address) as channel:
        talk: Any = channel.stream_stream(TALK)
        ask: Any = channel.unary_unary(ECHO)
        stream = talk()
        made: set[Connection] = set()
        for number in count():
            if len(made) > 2:
                break
            await stream.write(b"%d" % number)
            assert await stream.read() == b"%d" % number
            assert await ask(b"ab") == b"ab"
            made |= set(served.connections)
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF


@pytest.fixture
def no_files() -> Iterator[Callable[[], None]]:
    """`no_files()` takes all file descriptors that are left; the end of the test gives them back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def take() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 10, hard))
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))

    yield take
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for each in taken:
        os.close(each)


async def test_without_file_descriptors_the_others_go_on_and_newcomers_wait(
    served: Served, wire: Wire, no_files: Callable[[], None]
):
    assert (await wire.ask(ECHO, message(b"ab"))).status == OK
    loop = asyncio.get_running_loop()
    with socket.socket() as newcomer, capture_logs() as logs:
        newcomer.setblocking(False)
        no_files()
        await loop.sock_connect(newcomer, ("127.0.0.1", served.port))
        for _ in range(20):
            assert (await wire.ask(ECHO, message(b"ab"))).status == OK
            await asyncio.sleep(0.01)
        assert {each["event"] for each in logs} == {"a connection was not accepted"}
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        assert await loop.sock_recv(newcomer, 9)  # then it is accepted
