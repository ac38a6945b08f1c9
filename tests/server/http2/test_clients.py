"""Clients of gRPC's own library, blocking and not, with all kinds of methods and of compression."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.server.http2.words import COUNT, ECHO, MOST_BYTES, POUR, SAY, TALK, WAIT, Served

LARGE = bytes(MOST_BYTES)
COMPRESSIONS = [grpc.Compression.NoCompression, grpc.Compression.Deflate, grpc.Compression.Gzip]


def asked_by_a_blocking_client(address: str, compression: grpc.Compression) -> list[Any]:
    with grpc.insecure_channel(address, compression=compression) as channel:
        given: Iterator[bytes] = iter([b"ab", b"c"])
        counted: Any = channel.stream_unary(COUNT)
        talked: Any = channel.stream_stream(TALK)
        poured: Any = channel.unary_stream(POUR)
        echoed: Any = channel.unary_unary(ECHO)
        return [
            echoed(b"ab"),
            echoed(LARGE),
            list(poured(b"3 2")),
            counted(given),
            list(talked(iter([b"ab", LARGE, b""]))),
        ]


@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_a_blocking_client_calls_every_kind_of_method(served: Served, compression: grpc.Compression):
    found = await asyncio.to_thread(asked_by_a_blocking_client, served.address, compression)
    assert found == [b"ab", LARGE, [bytes(2)] * 3, b"2 1", [b"ab", LARGE, b""]]


@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_a_client_of_asyncio_calls_every_kind_of_method(served: Served, compression: grpc.Compression):
    async with grpc.aio.insecure_channel(served.address, compression=compression) as channel:
        echoed: Any = channel.unary_unary(ECHO)
        talked: Any = channel.stream_stream(TALK)
        poured: Any = channel.unary_stream(POUR)
        counted: Any = channel.stream_unary(COUNT)
        assert await echoed(LARGE) == LARGE
        assert [each async for each in poured(b"3 2")] == [bytes(2)] * 3
        assert await counted(iter([b"ab", b"c"])) == b"2 1"
        assert [each async for each in talked(iter([b"ab", LARGE, b""]))] == [b"ab", LARGE, b""]


@pytest.mark.parametrize("compression", COMPRESSIONS)
async def test_a_message_above_the_limit_has_the_same_status_for_every_client(
    served: Served, compression: grpc.Compression
):
    async with grpc.aio.insecure_channel(served.address, compression=compression) as channel:
        echoed: Any = channel.unary_unary(ECHO)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echoed(LARGE + b"x")
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_status_reaches_a_client_that_is_still_sending(served: Served):
    async with grpc.aio.insecure_channel(served.address) as channel:
        say: Any = channel.stream_stream(SAY)
        for _ in range(30):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                _ = [each async for each in say(iter([b"ab", b"cd", b"ef"]))]
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ABORTED, "ab")


async def test_more_calls_than_a_connection_may_have_wait_in_the_client(served: Served, until):
    async with grpc.aio.insecure_channel(served.address) as channel:
        wait: Any = channel.unary_unary(WAIT)
        calls = [asyncio.ensure_future(wait(b"%d" % number)) for number in range(150)]
        await until(lambda: served.words.begun == 100)
        served.words.release.set()
        assert await asyncio.gather(*calls) == [b"%d" % number for number in range(150)]


async def test_calls_that_clients_cancel_or_forget_leave_nothing(served: Served, until):
    async with grpc.aio.insecure_channel(served.address) as channel:
        wait: Any = channel.unary_unary(WAIT)
        for _ in range(50):
            calls = [wait(b"", timeout=0.02), wait(b"")]
            await asyncio.sleep(0.002)
            calls[1].cancel()
            with pytest.raises(grpc.aio.AioRpcError):
                await calls[0]
        await until(lambda: served.kept == 0 and served.gate.running == 0)
    assert served.words.begun == served.words.ended
