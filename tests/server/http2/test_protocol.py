"""Clients that break HTTP/2, speak something else, flood, or do nothing at all: only they have the trouble."""

import asyncio
import os
import random
import struct

import pytest

from tests.server.http2.conftest import Connect, Serve
from tests.server.http2.wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Wire,
    connect,
    frame,
    headers,
    message,
    packed,
)
from tests.server.http2.words import COUNT, ECHO, IDLE, POUR, SAY, TALK, WAIT, Served

OK = 0
REFUSED_STREAM, CANCEL = 7, 8
HELLO = PREFACE + frame(SETTINGS, 0, 0)
CALL = frame(HEADERS, END_HEADERS, 1, packed(headers(TALK)))
SENT = CALL + frame(DATA, 0, 1, message(b"ab"))
GET = frame(HEADERS, END_HEADERS, 1, packed(headers(ECHO, method=b"GET")))
RESET = frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL))
TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(501)


async def answers(served: Served) -> bool:
    """Whether another client is answered."""
    other = await connect(served.port)
    answer = await other.ask(ECHO, message(b"ab"))
    other.close()
    return (answer.messages, answer.status) == ([b"ab"], OK)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /test.Words/Echo HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
        TLS_HELLO,
        b"\0" * 100,
        PREFACE[:-1] + b"x",
        PREFACE + frame(PING, 0, 0, bytes(8)),  # settings must come first
        PREFACE + frame(HEADERS, END_HEADERS, 1, packed(headers(ECHO))),
        HELLO + b"\xff" * 100,
        HELLO + frame(DATA, 0, 1, b"x"),
        HELLO + frame(DATA, 0, 0, b"x"),
        HELLO + frame(HEADERS, END_HEADERS, 2, packed(headers(ECHO))),
        HELLO + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        HELLO + frame(CONTINUATION, END_HEADERS, 1, b""),
        HELLO + frame(HEADERS, 0, 1, packed(headers(ECHO))) + frame(PING, 0, 0, bytes(8)),
        HELLO + frame(SETTINGS, 0, 0, b"x"),
        HELLO + frame(SETTINGS, ACK, 0, bytes(6)),
        HELLO + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31)),
        HELLO + frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1)),
        HELLO + frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 7)),
        HELLO + frame(WINDOW_UPDATE, 0, 0, bytes(4)),
        HELLO + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)),
        HELLO + frame(RST_STREAM, 0, 1, bytes(4)),
        HELLO + frame(5, END_HEADERS, 1, bytes(4)),  # a push of a client
        HELLO + CALL + b"\xff" * 100,
        HELLO + GET + b"\xff" * 100,
        HELLO + SENT + frame(PING, 0, 0, b"x"),
        HELLO + frame(DATA, 0, 0, bytes(20_000)),
        HELLO + CALL + frame(DATA, 0, 1, bytes(20_000)),  # larger than a frame may be
    ],
)
async def test_what_is_no_http2_ends_the_connection_and_no_other(
    served: Served, connecting: Connect, sent: bytes
):
    wire = await connecting(greets=False)
    wire.write(sent)
    await wire.gone()
    assert await answers(served)


@pytest.mark.parametrize(
    "more", [b"", frame(PING, 0, 0, b"x"), b"\xff" * 50], ids=["", "a wrong ping", "garbage"]
)
@pytest.mark.parametrize(
    "sent",
    [
        GET + RESET,
        CALL + RESET,
        SENT + RESET,
        CALL + frame(DATA, 0, 1, message(b"", length=900_000)) + RESET,
        frame(HEADERS, END_HEADERS, 1, packed(headers(ECHO, (b"x-bin", b"!")))) + RESET,
        frame(HEADERS, END_HEADERS, 1, packed(headers(ECHO, (b"grpc-encoding", b"br")))) + RESET,
        frame(HEADERS, END_HEADERS, 1, packed(headers(ECHO, (b"grpc-timeout", b"1n")))) + RESET,
        frame(HEADERS, END_HEADERS, 1, packed(headers("/none"))) + RESET,
        CALL + frame(HEADERS, END_HEADERS, 1, packed(headers(ECHO))),
        CALL + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 2**31 - 1)),
        CALL + frame(WINDOW_UPDATE, 0, 1, bytes(4)),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, packed(headers(TALK))) + frame(DATA, 0, 1, message(b"")),
    ],
)
async def test_a_stream_that_ends_in_the_bytes_that_begin_it_does_no_harm(
    served: Served, connecting: Connect, until, sent: bytes, more: bytes
):
    wire = await connecting(greets=False)
    wire.write(HELLO + sent + more)
    if more:
        await wire.gone()
    else:
        wire.write(frame(PING, 0, 0, b"ping-end"))
        await wire.until(lambda: (PING, ACK, 0, b"ping-end") in wire.frames or wire.is_gone)
    await until(lambda: served.kept == 0)
    assert await answers(served)


@pytest.mark.parametrize(
    "sent",
    [
        frame(DATA, 0, 1, message(b"", length=900_000)),
        frame(DATA, 0, 1, message(b"ab")),
        frame(DATA, END_STREAM, 1, message(b"ab")[:6]),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, packed([(b"x", b"y")])),  # trailers of a request
        frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 2**31 - 1)),
    ],
)
@pytest.mark.parametrize("path", [TALK, COUNT, ECHO, POUR, IDLE, SAY, "/none"])
async def test_a_reset_may_come_in_every_state_of_a_call(
    served: Served, connecting: Connect, until, path: str, sent: bytes
):
    wire = await connecting(greets=False)
    wire.write(HELLO + frame(HEADERS, END_HEADERS, 1, packed(headers(path))) + frame(PING, 0, 0, b"ping-one"))
    await wire.until(
        lambda: (PING, ACK, 0, b"ping-one") in wire.frames
    )  # given a call that waits for its request
    wire.write(sent + RESET + frame(PING, 0, 0, b"ping-two"))
    await wire.until(lambda: (PING, ACK, 0, b"ping-two") in wire.frames or wire.is_gone)
    await until(lambda: served.kept == 0)
    await until(lambda: served.gate.running == 0)
    assert await answers(served)


async def test_trailers_may_end_a_request(wire: Wire):
    stream = wire.call(ECHO)
    wire.send(stream, message(b"ab"))
    wire.http2.send_trailers(stream, [(b"x", b"y")])
    wire.flush()
    assert (await wire.answer(stream)).messages == [b"ab"]


async def test_a_connection_that_is_cut_after_any_byte_leaves_nothing(
    served: Served, connecting: Connect, until
):
    sent = HELLO + SENT + frame(PING, 0, 0, bytes(8)) + frame(DATA, END_STREAM, 1, message(b"cd"))
    for end in range(len(sent)):
        wire = await connecting(greets=False)
        wire.write(sent[:end])
        await asyncio.sleep(0)
        wire.transport.abort() if end % 2 else wire.transport.close()
    await until(lambda: not served.connections and served.gate.running == 0)
    assert await answers(served)


async def test_a_call_may_come_byte_by_byte(connecting: Connect):
    wire = await connecting(greets=False)
    sock = wire.transport.get_extra_info("socket")
    assert sock
    for byte in HELLO + SENT + frame(DATA, END_STREAM, 1, b""):
        wire.write(bytes((byte,)))
        await asyncio.sleep(0)
    await wire.until(lambda: any(kind == DATA and b"ab" in data for kind, _, _, data in wire.frames))


@pytest.mark.parametrize(
    "flood",
    [
        frame(SETTINGS, 0, 0) * 20_000,
        frame(PING, 0, 0, bytes(8)) * 20_000,
        frame(HEADERS, 0, 1, packed(headers(ECHO))) + frame(CONTINUATION, 0, 1) * 20_000,
        b"".join(
            frame(HEADERS, END_HEADERS, stream, packed(headers(ECHO)))
            + frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))
            for stream in range(1, 40_001, 2)
        ),
        b"".join(
            frame(HEADERS, END_HEADERS | END_STREAM, stream, packed([*headers(ECHO), (b"x", b" ")]))
            for stream in range(1, 40_001, 2)
        ),
    ],
    ids=["settings", "pings", "continuations", "resets", "malformed headers"],
)
async def test_a_flood_ends_its_connection(served: Served, connecting: Connect, until, flood: bytes):
    wire = await connecting(greets=False)
    wire.write(HELLO + flood)
    await wire.gone()
    await until(lambda: not served.connections and served.gate.running == 0)
    assert await answers(served)


@pytest.mark.parametrize(
    "flood",
    [
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 20_000,
        frame(DATA, 0, 1) * 20_000,
        frame(2, 0, 1, bytes(5)) * 20_000,  # priorities
        frame(99, 0, 1, b"x") * 20_000,  # of no known kind
    ],
    ids=["windows", "empty data", "priorities", "unknown frames"],
)
async def test_a_flood_of_what_costs_nothing_is_read_past(served: Served, connecting: Connect, flood: bytes):
    wire = await connecting(greets=False)
    wire.write(HELLO + CALL + flood + frame(PING, 0, 0, b"ping-end"))
    await wire.until(lambda: (PING, ACK, 0, b"ping-end") in wire.frames or wire.is_gone)
    assert await answers(served)


async def test_pings_that_come_too_often_are_answered_with_the_reason(connecting: Connect):
    wire = await connecting()
    for _ in range(5):
        wire.http2.ping()
        wire.flush()
    await wire.gone()
    assert [(code, data) for _, code, data in wire.goaways] == [(11, b"too_many_pings")]


async def test_one_stream_more_than_allowed_is_refused_and_the_others_are_answered(
    serve_words: Serve, connecting: Connect, until
):
    served = await serve_words(calls=5)
    wire = await connecting(port=served.port)
    await wire.until(lambda: wire.events)
    streams = [wire.call(WAIT, body=message(b"ab")) for _ in range(7)]  # two of them wait in the client
    await until(lambda: served.words.begun == 5)
    served.words.release.set()
    for stream in streams:
        assert (await wire.answer(stream)).status == OK


@pytest.mark.parametrize("has_acknowledged", [False, True])
async def test_more_streams_than_a_client_was_told_are_refused_or_end_its_connection(
    serve_words: Serve, connecting: Connect, until, has_acknowledged: bool
):
    served = await serve_words(calls=5)
    rude = await connecting(port=served.port, greets=False)
    begin = [frame(HEADERS, END_HEADERS, stream, packed(headers(IDLE))) for stream in range(1, 15, 2)]
    rude.write(HELLO + frame(SETTINGS, ACK, 0) * has_acknowledged + b"".join(begin))
    if has_acknowledged:
        await rude.gone()
    else:
        refusals = struct.pack(">I", REFUSED_STREAM)
        await rude.until(lambda: sum(each[0::3] == (RST_STREAM, refusals) for each in rude.frames) == 2)
        assert served.gate.running == 5
    assert await answers(served)


async def test_a_window_that_stays_closed_holds_only_its_own_call(served: Served, connecting: Connect, until):
    closed = await connecting(window=0)
    stream = closed.call(POUR, body=message(b"10 50000"))
    [connection] = await until(lambda: served.connections)
    await until(lambda: connection._waiting)
    short = closed.call(COUNT, body=message(b""))  # an answer that does not fit, either
    assert await answers(served)
    for each in (stream, short):
        closed.reset(each)
    await until(lambda: served.kept == 0 and served.gate.running == 0)


async def test_a_client_that_says_goodbye_gets_its_answers(served: Served, wire: Wire, until):
    stream = wire.call(WAIT, body=message(b"ab"))
    await until(lambda: served.words.begun)
    wire.http2.send_goaway(0)
    wire.flush()
    served.words.release.set()
    assert (await wire.answer(stream)).messages == [b"ab"]
    await wire.gone()


@pytest.mark.parametrize("path", [ECHO, POUR, COUNT, TALK])
async def test_calls_that_are_never_finished_leave_with_their_connection(
    served: Served, wire: Wire, until, path: str
):
    for _ in range(50):
        wire.send(wire.call(path), message(b"ab")[:3])
    await until(lambda: served.gate.running == 50)
    assert await answers(served)
    wire.close()
    await until(lambda: served.gate.running == 0 and not served.connections)


async def test_an_answered_call_whose_client_never_ends_it_is_cut_off(served: Served, wire: Wire, until):
    stream = wire.call(ECHO)
    wire.send(stream, message(b"ab"))
    answer = await wire.answer(stream)
    assert (answer.messages, answer.status, answer.error_code) == ([b"ab"], OK, 0)
    await until(lambda: served.kept == 0)


async def test_a_client_that_greets_and_answers_no_ping_is_gone(
    serve_words: Serve, connecting: Connect, until
):
    served = await serve_words(keepalive_seconds=0.2)
    polite = await connecting(port=served.port)
    silent = await connecting(port=served.port, greets=False)
    silent.write(HELLO)
    await silent.gone()
    assert not polite.is_gone
    assert len(served.connections) == 1


async def test_a_client_that_does_not_greet_is_gone(
    serve_words: Serve, connecting: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("server.http2.connection._GREETING_SECONDS", 0.1)
    served = await serve_words()
    for sent in (b"", PREFACE, PREFACE[:5]):
        mute = await connecting(port=served.port, greets=False)
        mute.write(sent)
        await mute.gone()
    assert not served.connections


@pytest.mark.parametrize("keeps_sending", [False, True])
async def test_a_client_that_reads_nothing_is_gone_and_keeps_little(
    serve_words: Serve, connecting: Connect, until, keeps_sending: bool
):
    served = await serve_words(keepalive_seconds=0.3)
    wire = await connecting(port=served.port, window=2**31 - 1)
    await wire.until(lambda: wire.events)
    [connection] = served.connections
    wire.call(POUR, body=message(b"1000 60000"))
    wire.transport.pause_reading()
    await until(lambda: connection._is_paused)
    assert connection._transport.get_write_buffer_size() < 4_000_000
    assert connection._http2.queued_body_size() < 400_000

    def is_gone() -> bool:
        if keeps_sending and not wire.transport.is_closing():
            wire.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)))
        return not served.connections

    await until(is_gone)
    await until(lambda: served.gate.running == 0)
    assert await answers(served)


async def test_a_connection_that_closes_to_a_client_that_reads_nothing_costs_no_time(
    serve_words: Serve, connecting: Connect, until
):
    served = await serve_words(keepalive_seconds=0.5)
    wire = await connecting(port=served.port, window=2**31 - 1)
    await wire.until(lambda: wire.events)
    [connection] = served.connections
    connection._transport.set_write_buffer_limits(high=1 << 30)
    wire.call(POUR, body=message(b"300 60000"))
    wire.transport.pause_reading()
    await until(lambda: connection._transport.get_write_buffer_size() > 4_000_000)
    wire.write(frame(DATA, 0, 0))  # ends it, when what waits is sent
    await until(connection._transport.is_closing)
    turns = 0
    look = connection._look

    def counted() -> None:
        nonlocal turns
        turns += 1
        look()

    connection._look = counted  # type: ignore[method-assign]
    await until(lambda: not served.connections)
    assert turns < 10


async def test_cancelled_calls_leave_nothing(served: Served, wire: Wire, until):
    for _ in range(20):
        streams = [wire.call(path, body=message(b"9 9")) for path in (WAIT, POUR, TALK, COUNT, ECHO) * 4]
        for stream in streams:
            wire.reset(stream)
    await until(lambda: served.gate.running == 0)
    assert served.kept == 0
    assert served.words.begun == served.words.ended
    assert await answers(served)


async def test_many_connections_come_and_go_without_a_trace(served: Served, until):
    files = len(os.listdir("/proc/self/fd"))
    made = [await connect(served.port) for _ in range(200)]
    for wire in made:
        wire.call(WAIT, body=message(b"ab"))
    await until(lambda: served.gate.running == 200)
    for wire in made:
        wire.transport.abort() if random.random() < 0.5 else wire.transport.close()
    await until(lambda: not served.connections and served.gate.running == 0)
    await until(lambda: len(os.listdir("/proc/self/fd")) <= files)


async def test_requests_that_nobody_read_do_not_close_the_connections_window(
    served: Served, wire: Wire, until
):
    [connection] = await until(lambda: served.connections)
    await until(lambda: connection._has_greeted)
    whole = connection._http2.local_window_size
    for _ in range(20):
        stream = wire.call(IDLE)
        wire.send(stream, message(bytes(60_000)))
        await until(lambda: served.gate.running == 1)
        wire.reset(stream)
        await until(lambda: served.gate.running == 0)
    assert connection._http2.local_window_size > whole // 2
    assert not connection._http2.queued_body_size()
