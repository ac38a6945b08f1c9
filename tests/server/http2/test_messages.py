"""Messages of every form: compressed, cut, in pieces, too large, many, unread."""

import gzip
import tracemalloc
import zlib

import pytest

from tests.server.http2.conftest import Connect
from tests.server.http2.wire import Wire, message
from tests.server.http2.words import COUNT, ECHO, IDLE, MOST_BYTES, POUR, TALK, Served

OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 3, 8, 12, 13
GZIP, DEFLATE = (b"grpc-encoding", b"gzip"), (b"grpc-encoding", b"deflate")
HUGE = 64 * MOST_BYTES


async def test_a_message_comes_back(wire: Wire):
    answer = await wire.ask(ECHO, message(b"ab"))
    assert (answer.messages, answer.status, answer.headers[b":status"]) == ([b"ab"], OK, b"200")


@pytest.mark.parametrize(
    ("encoding", "compress"), [(GZIP, gzip.compress), (DEFLATE, zlib.compress)], ids=["gzip", "deflate"]
)
async def test_compressed_messages_are_read(wire: Wire, encoding, compress):
    sent = message(compress(b"ab" * 1000), flag=1) + message(b"plain") + message(compress(b""), flag=1)
    answer = await wire.ask(COUNT, sent, encoding)
    assert (answer.messages, answer.status) == ([b"2000 5 0"], OK)


async def test_an_unknown_encoding_is_refused_with_those_that_are_known(wire: Wire):
    answer = await wire.ask(ECHO, message(b"ab"), (b"grpc-encoding", b"br"))
    assert answer.status == UNIMPLEMENTED
    assert answer.said.endswith("use identity, deflate or gzip.")
    assert answer.headers[b"grpc-accept-encoding"] == b"identity,deflate,gzip"


@pytest.mark.parametrize(
    ("sent", "encoding"),
    [
        (message(b"ab", flag=1), (b"x", b"y")),
        (message(b"ab", flag=1), (b"grpc-encoding", b"identity")),
        (message(b"ab", flag=1), GZIP),
        (message(b"ab", flag=2), GZIP),
        (message(b"ab", flag=255), (b"x", b"y")),
        (message(gzip.compress(b"ab", mtime=0)[:-3], flag=1), GZIP),
        (message(gzip.compress(b"ab", mtime=0), flag=1), DEFLATE),
        (message(b"", flag=1), GZIP),
    ],
)
async def test_a_message_that_cannot_be_opened_ends_the_call_with_a_sentence(wire: Wire, sent, encoding):
    answer = await wire.ask(ECHO, sent, encoding)
    assert answer.status == INTERNAL
    assert answer.said.startswith("A message of the call cannot be read: ")
    assert (await wire.ask(ECHO, message(b"ab"))).status == OK


@pytest.mark.parametrize(
    ("size", "status"), [(MOST_BYTES - 1, OK), (MOST_BYTES, OK), (MOST_BYTES + 1, RESOURCE_EXHAUSTED)]
)
@pytest.mark.parametrize("is_compressed", [False, True])
async def test_a_message_may_be_as_large_as_the_limit(connecting: Connect, size, status, is_compressed):
    wire = await connecting(window=1 << 24)
    sent = message(gzip.compress(bytes(size)), flag=1) if is_compressed else message(bytes(size))
    answer = await wire.ask(ECHO, sent, *([GZIP] if is_compressed else []))
    assert answer.status == status
    if status == OK:
        assert answer.messages == [bytes(size)]
    else:
        assert answer.said == f"SERVER: Received message larger than max ({size} vs. {MOST_BYTES})"


async def test_a_bomb_is_not_unpacked(wire: Wire):
    answer = await wire.ask(ECHO, message(gzip.compress(bytes(HUGE)), flag=1), GZIP)
    assert answer.status == RESOURCE_EXHAUSTED


async def test_a_length_above_the_limit_is_refused_before_the_message_comes(wire: Wire):
    stream = wire.call(ECHO)
    wire.send(stream, message(b"", length=2**32 - 1))
    answer = await wire.answer(stream)
    assert answer.status == RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", [ECHO, POUR, COUNT, TALK])
@pytest.mark.parametrize("cut", [1, 4, 5, 6])
async def test_a_call_that_ends_within_a_message_fails(wire: Wire, method, cut):
    answer = await wire.ask(method, message(b"1 1")[:cut])
    assert (answer.status, answer.said) == (
        INTERNAL,
        "A message of the call cannot be read: the call ended within it.",
    )


async def test_messages_before_one_that_is_cut_are_answered(wire: Wire):
    answer = await wire.ask(TALK, message(b"ab") + message(b"cd")[:6])
    assert (answer.messages, answer.status) == ([b"ab"], INTERNAL)


async def test_a_call_without_a_message_is_refused(wire: Wire):
    answer = await wire.answer(wire.call(ECHO, end=True))
    assert answer.status == INVALID_ARGUMENT


async def test_a_second_message_of_a_method_that_takes_one_is_not_read(wire: Wire):
    answer = await wire.ask(ECHO, message(b"ab") + message(b"cd"))
    assert (answer.messages, answer.status) == ([b"ab"], OK)


async def test_a_message_may_come_byte_by_byte(wire: Wire):
    stream = wire.call(TALK)
    for byte in message(b"ab") + message(b"") + message(b"c"):
        wire.send(stream, bytes((byte,)))
    wire.http2.end_stream(stream)
    wire.flush()
    answer = await wire.answer(stream)
    assert (answer.messages, answer.status) == ([b"ab", b"", b"c"], OK)


async def test_many_messages_may_come_in_one_piece(wire: Wire):
    answer = await wire.ask(COUNT, message(b"") * 50_000)
    assert (answer.messages, answer.status) == ([b" ".join([b"0"] * 50_000)], OK)


async def test_large_messages_go_both_ways_through_small_windows(wire: Wire):
    sent = [bytes([number]) * 900_000 for number in range(5)]
    answer = await wire.ask(TALK, b"".join(map(message, sent)))
    assert (answer.messages, answer.status) == (sent, OK)


async def test_requests_that_nobody_reads_stay_in_the_client(served: Served, wire: Wire, until):
    stream = wire.call(IDLE)
    wire.send(stream, message(bytes(1000)) * 1000)
    await until(lambda: served.words.begun)
    await wire.until(lambda: not wire.http2.stream_remote_window_size(stream))
    [connection] = served.connections
    [call] = connection._calls.values()
    assert call.unread <= 65_535
    served.words.release.set()  # when they are read
    await wire.until(lambda: len(wire.answers[stream].data) == 1000 * 1005)  # then none was lost


async def test_small_messages_that_unpack_to_large_ones_stay_small_until_they_are_read(
    served: Served, wire: Wire, until
):
    stream = wire.call(IDLE, GZIP)
    await until(lambda: served.words.begun)
    packed = message(gzip.compress(bytes(MOST_BYTES)), flag=1)
    tracemalloc.start()
    try:
        wire.send(stream, packed * (60_000 // len(packed)))
        [connection] = served.connections
        [call] = connection._calls.values()
        await until(lambda: call.unread > 50_000)
        assert tracemalloc.get_traced_memory()[0] < 10 * MOST_BYTES
    finally:
        tracemalloc.stop()


async def test_responses_that_nobody_takes_wait_in_the_handler(served: Served, connecting: Connect, until):
    wire = await connecting(window=0)
    stream = wire.call(POUR, body=message(b"100 50000"))
    [connection] = await until(lambda: served.connections)
    await until(lambda: connection._waiting)
    assert connection._http2.queued_body_size() < 400_000
    wire.http2.set_local_window_size(1 << 20, stream_id=stream)  # when the client takes them
    wire.flush()
    answer = await wire.answer(stream)
    assert (len(answer.messages), answer.status) == (100, OK)  # then none was lost
