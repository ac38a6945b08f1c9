"""A client that speaks HTTP/2 as a test wants: well, badly, or not at all."""

import asyncio
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, cast

import ngh2
from ngh2 import events

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def packed(fields: list[tuple[bytes, bytes]], *, kind: int = 0x00) -> bytes:
    """A block of headers as they are; of kind 0x40, the receiver remembers them."""
    return b"".join(
        bytes((kind,)) + b"".join(_length(len(text)) + text for text in field) for field in fields
    )


def _length(size: int) -> bytes:
    if size < 127:
        return bytes((size,))
    size, found = size - 127, b"\x7f"
    while size >= 128:
        size, found = size >> 7, found + bytes((size % 128 + 128,))
    return found + bytes((size,))


def frames(received: bytes | bytearray) -> list[tuple[int, int, int, bytes]]:
    """The whole frames: kind, flags, stream and payload."""
    found, start = [], 0
    while len(received) >= start + 9:
        size = int.from_bytes(received[start : start + 3], "big")
        kind, flags, stream = struct.unpack(">BBI", received[start + 3 : start + 9])
        found.append((kind, flags, stream, bytes(received[start + 9 : start + 9 + size])))
        start += 9 + size
    return found


def message(body: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """One message of gRPC; its head may lie."""
    return struct.pack(">BI", flag, len(body) if length is None else length) + body


def headers(path: str, *more: tuple[bytes, bytes], **changed: Any) -> list[tuple[bytes, bytes]]:
    """Those of a call; `changed` replaces, or takes away, some by their names without a colon."""
    usual: dict[str, Any] = {
        "method": b"POST",
        "scheme": b"http",
        "path": path.encode("latin-1"),
        "authority": b"test",
        "te": b"trailers",
        "content-type": b"application/grpc",
    } | changed
    pseudo = ("method", "scheme", "path", "authority")
    given = [
        (f":{name}".encode() if name in pseudo else name.encode(), value)
        for name, value in usual.items()
        if value is not None
    ]
    return [*given, *more]


@dataclass
class Answer:
    """What came on one stream."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    error_code: int | None = None  # of the reset that ended it
    is_over: bool = False

    @property
    def status(self) -> int | None:
        """The status of gRPC."""
        given = self.trailers.get(b"grpc-status", self.headers.get(b"grpc-status"))
        return None if given is None else int(given)

    @property
    def said(self) -> str:
        """The message of the status, as it was sent."""
        return (self.trailers.get(b"grpc-message") or self.headers.get(b"grpc-message") or b"").decode()

    @property
    def messages(self) -> list[bytes]:
        """Those that are whole."""
        found, data, start = [], bytes(self.data), 0
        while len(data) >= start + 5 + (length := int.from_bytes(data[start + 1 : start + 5], "big")):
            found.append(data[start + 5 : start + 5 + length])
            start += 5 + length
        return found


class Wire(asyncio.Protocol):
    """One connection. `http2` is a well-behaved client; `write` sends any bytes beside it."""

    def __init__(self, *, window: int, has_manual_window: bool) -> None:
        self.http2: Any = ngh2.Connection(
            ngh2.Role.CLIENT,
            ngh2.Configuration(
                auto_window_update=not has_manual_window, max_inbound_header_list_size=1 << 20
            ),
        )
        self.answers: dict[int, Answer] = defaultdict(Answer)
        self.events: list[events.Event] = []
        self.goaways: list[tuple[int, int, bytes]] = []  # last stream, code, data
        self.received = bytearray()
        self.is_gone = False
        self._window = window
        self._is_polite = False
        self._arrival = asyncio.Event()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self._is_polite:
            self.http2.receive_data(data)
            for event in self.http2.events():
                self._note(event)
            self.flush()
        self._arrival.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        self._arrival.set()

    # What tests use.

    def greet(self) -> None:
        """Begin as clients do; without it, only bytes go out and come in."""
        self._is_polite = True
        self.http2.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: self._window})
        if self._window > 65_535:
            self.http2.set_local_window_size(1 << 30)
        self.flush()

    def call(
        self,
        path: str,
        *more: tuple[bytes, bytes],
        end: bool = False,
        body: bytes | None = None,
        **changed: Any,
    ) -> int:
        """Begin a call; with a body, the whole request."""
        stream: int = self.http2.send_request(headers(path, *more, **changed), end_stream=end)
        if body is not None:
            self.http2.send_data(stream, body, end_stream=True)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Bytes of a request."""
        self.http2.send_data(stream, data, end_stream=end)
        self.flush()

    def reset(self, stream: int, code: int = 8) -> None:
        """End a call."""
        self.http2.reset_stream(stream, code)
        self.flush()

    def flush(self) -> None:
        """Send what HTTP/2 has to send."""
        if data := self.http2.data_to_send():
            self.transport.write(data)

    def write(self, data: bytes) -> None:
        """Send any bytes."""
        self.transport.write(data)

    async def until(self, condition: Any, seconds: float = 10.0) -> None:
        """Wait for something to come."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._arrival.clear()
                await self._arrival.wait()

    async def answer(self, stream: int, seconds: float = 10.0) -> Answer:
        """The answer to a call, once it is over or the connection is gone."""
        await self.until(lambda: self.answers[stream].is_over or self.is_gone, seconds)
        return self.answers[stream]

    async def ask(self, path: str, body: bytes = b"", *more: tuple[bytes, bytes], **changed: Any) -> Answer:
        """The answer to a call with these bytes."""
        return await self.answer(self.call(path, *more, body=body, **changed))

    @property
    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """All that came."""
        return frames(self.received)

    async def gone(self, seconds: float = 10.0) -> None:
        """Wait until the server has closed the connection."""
        await self.until(lambda: self.is_gone, seconds)

    def close(self) -> None:
        """Go at once."""
        self.transport.abort()

    def _note(self, event: events.Event) -> None:
        self.events.append(event)
        match event:
            case events.ResponseReceived(stream, fields, _):
                self.answers[stream].headers = dict(fields)
            case events.DataReceived(stream, data, _):
                self.answers[stream].data += data
            case events.TrailersReceived(stream, fields):
                self.answers[stream].trailers = dict(fields)
            case events.StreamReset(stream, code):
                self.answers[stream].error_code = code
            case events.StreamClosed(stream, _, _):
                self.answers[stream].is_over = True
            case events.GoAwayReceived(last, code, data):
                self.goaways.append((last, code, data))


async def connect(
    port: int, *, greets: bool = True, window: int = 65_535, has_manual_window: bool = False, **more: Any
) -> Wire:
    """A connection to a port of this machine."""
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(
        lambda: Wire(window=window, has_manual_window=has_manual_window), "127.0.0.1", port, **more
    )
    if greets:
        wire.greet()
    return wire
