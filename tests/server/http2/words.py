"""A small service of bytes behind the gate, with all four kinds of methods, on a real port."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from server.calls import CallLimits, Calls
from server.gate import Gate
from server.http2.connection import Connection, Limits
from server.http2.server import Server
from server.reserving import bind
from smalti.address import parse_address

SERVICE = "test.Words"
ECHO, POUR, COUNT, TALK = (f"/{SERVICE}/{name}" for name in ("Echo", "Pour", "Count", "Talk"))
WAIT = f"/{SERVICE}/Wait"  # answers once it is released
IDLE = f"/{SERVICE}/Idle"  # reads no request until it is released
SAY = f"/{SERVICE}/Say"  # ends with this error
MOST_BYTES = 1_000_000  # of one request


class Words:
    """Answers, and notes the metadata that came."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.metadata: list[Any] = []
        self.begun = self.ended = 0  # calls that waited

    async def echo(self, request: bytes, call: Any) -> bytes:
        """The request again."""
        self.metadata.append(call.metadata)
        return request

    async def pour(self, request: bytes, call: Any) -> AsyncIterator[bytes]:
        """As many messages of as many bytes as the request says."""
        count, size = map(int, request.split())
        for _ in range(count):
            yield bytes(size)

    async def count(self, requests: AsyncIterator[bytes], call: Any) -> bytes:
        """The sizes of the requests."""
        return b" ".join([b"%d" % len(each) async for each in requests])

    async def talk(self, requests: AsyncIterator[bytes], call: Any) -> AsyncIterator[bytes]:
        """Every request again."""
        async for each in requests:
            yield each

    async def wait(self, request: bytes, call: Any) -> bytes:
        """The request again, later."""
        await self._until_released()
        return request

    async def idle(self, requests: AsyncIterator[bytes], call: Any) -> AsyncIterator[bytes]:
        """Every request again, later."""
        await self._until_released()
        async for each in requests:
            yield each

    async def say(self, request: bytes, call: Any) -> bytes:
        """Ends with the request as its message, and as metadata."""
        text = request.decode()
        await call.abort(grpc.StatusCode.ABORTED, text, (("said-bin", request),))
        return b""

    async def _until_released(self) -> None:
        self.begun += 1
        try:
            await self.release.wait()
        finally:
            self.ended += 1

    def handlers(self) -> dict[str, Any]:
        """The methods for a server; their messages are plain bytes."""
        kinds: dict[str, tuple[Any, Any]] = {
            "Echo": (grpc.unary_unary_rpc_method_handler, self.echo),
            "Pour": (grpc.unary_stream_rpc_method_handler, self.pour),
            "Count": (grpc.stream_unary_rpc_method_handler, self.count),
            "Talk": (grpc.stream_stream_rpc_method_handler, self.talk),
            "Wait": (grpc.unary_unary_rpc_method_handler, self.wait),
            "Idle": (grpc.stream_stream_rpc_method_handler, self.idle),
            "Say": (grpc.unary_unary_rpc_method_handler, self.say),
        }
        return {name: make(method, bytes, bytes) for name, (make, method) in kinds.items()}


class Served:
    """A server of Words, and what it keeps."""

    def __init__(self, words: Words, server: Server, gate: Gate, port: int) -> None:
        self.words, self.server, self.gate, self.port = words, server, gate, port
        self.address = f"127.0.0.1:{port}"

    @property
    def connections(self) -> list[Connection]:
        """Those that live."""
        return list(self.server._connections)

    @property
    def kept(self) -> int:
        """Everything that the connections remember of calls."""
        return sum(
            len(each)
            for connection in self.connections
            for each in (
                connection._calls,
                connection._waiting,
                connection._ends,
                connection._unfinished,
            )
        )


async def serve(**limits: Any) -> Served:
    """A server that answers; a test may set some of its limits."""
    usual: dict[str, Any] = {"calls": 100, "message_bytes": MOST_BYTES, "keepalive_seconds": 60.0}
    encryption = limits.pop("encryption", None)
    words, gate = Words(), Gate(calls=Calls(CallLimits()))
    more = {"encryption": encryption} if encryption else {}
    server = Server(gate.answer, Limits(**usual | limits), **more)
    server.add_registered_method_handlers(SERVICE, words.handlers())
    port, sockets = bind(parse_address("127.0.0.1:0", first_port=0))
    server.listen(sockets)
    await server.start()
    return Served(words, server, gate, port)
