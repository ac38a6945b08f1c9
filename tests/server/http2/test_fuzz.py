"""Any bytes, and conversations that are changed a little: the server lives, says no traceback, and answers others."""

import asyncio
import struct
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.http2.wire import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    connect,
    frame,
    headers,
    message,
    packed,
)
from tests.server.http2.words import COUNT, ECHO, IDLE, POUR, SAY, TALK, WAIT, Served

SOON = (b"grpc-timeout", b"50m")
FRAMES = [
    frame(SETTINGS, 0, 0),
    frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)),
    frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1)),
    frame(SETTINGS, ACK, 0),
    frame(PING, 0, 0, bytes(8)),
    *(
        frame(HEADERS, END_HEADERS | flags, stream, packed(headers(path, SOON)))
        for path in (ECHO, POUR, COUNT, TALK, WAIT, IDLE, SAY, "/none")
        for stream in (1, 3, 5)
        for flags in (0, END_STREAM)
    ),
    *(
        frame(DATA, flags, stream, data)
        for data in (
            message(b"2 9"),
            message(b"ab")[:6],
            message(b"", length=900_000),
            message(b"x", flag=1),
            b"",
        )
        for stream in (1, 3, 5)
        for flags in (0, END_STREAM)
    ),
    *(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)) for stream in (1, 3, 5)),
    *(
        frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))
        for stream in (0, 1, 3)
        for size in (1, 2**31 - 1)
    ),
    frame(HEADERS, END_HEADERS | END_STREAM, 1, packed([(b"x", b"y")])),
    frame(7, 0, 0, struct.pack(">II", 0, 0)),
]
CONVERSATIONS = st.lists(st.sampled_from(FRAMES), max_size=12).map(b"".join)


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A conversation in which some bytes are others, missing or doubled."""
    sent = bytearray(draw(CONVERSATIONS))
    for _ in range(draw(st.integers(0, 3))):
        if sent:
            start = draw(st.integers(0, len(sent) - 1))
            sent[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(sent)


async def _tell(served: Served, pieces: list[bytes]) -> None:
    """Send the pieces on a new connection, go away, and see that another one is answered."""
    wire = await connect(served.port, greets=False)
    for piece in pieces:
        wire.write(piece)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    other = await connect(served.port)
    assert (await other.ask(ECHO, message(b"ab"))).messages == [b"ab"]
    wire.close()
    other.close()


def _cut(sent: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(sent) + 1) for place in places), len(sent)]
    return [sent[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize(
    "sent",
    [
        st.binary(max_size=200),
        st.binary(max_size=200).map((PREFACE + frame(SETTINGS, 0, 0)).__add__),
        CONVERSATIONS.map((PREFACE + frame(SETTINGS, 0, 0)).__add__),
        changed().map((PREFACE + frame(SETTINGS, 0, 0)).__add__),
    ],
    ids=["any bytes", "any bytes after the greeting", "any frames", "changed frames"],
)
async def test_whatever_comes_the_server_lives_and_answers_others(served: Served, until, sent):
    loop = asyncio.get_running_loop()

    @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(sent=sent, places=st.lists(st.integers(0, 10_000), max_size=4))
    def tell(sent: bytes, places: list[int]) -> None:
        asyncio.run_coroutine_threadsafe(_tell(served, _cut(sent, places)), loop).result(30)

    await asyncio.to_thread(tell)
    await until(lambda: not served.connections and served.gate.running == 0)
