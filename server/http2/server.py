"""Listens on sockets, answers the calls of all connections, and stops in order."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from grpc import StatusCode

from server.http2.call import Call
from server.http2.connection import Connection, Limits
from server.http2.messages import Message
from server.http2.statuses import Ended, Status

log = structlog.get_logger()
_HANDSHAKE_SECONDS = 10.0
_BACKLOG = 1024  # connections that the kernel keeps until they are accepted
_NO_ROOM_SECONDS = 0.5  # without file descriptors, until the next try
_STOPPING = Status(code=StatusCode.UNAVAILABLE, message="The server is stopping.")
_MISSED = Status(code=StatusCode.DEADLINE_EXCEEDED, message="The deadline passed.")
_BUG = Status(code=StatusCode.INTERNAL, message="This is a bug in smalti's server.")


class Method(NamedTuple):
    """One method of a service; `answer` takes a request, or several, and the call."""

    service: str
    name: str
    answer: Callable[[Any, Any], Any]
    parse: Callable[[bytes], Any]
    serialize: Callable[[Any], Message]
    takes_stream: bool
    gives_stream: bool


Answer = Callable[[Call, Method | None], Awaitable[None]]


class Server:
    """A server of gRPC. `answer` gets every call, with its method, or None where there is no such method.

    It must end each call, and may raise Ended. `encryption` gives the TLS context for a new connection; without it, or
    when it gives None, connections are in plain text.
    """

    def __init__(
        self, answer: Answer, limits: Limits, encryption: Callable[[], ssl.SSLContext | None] = lambda: None
    ) -> None:
        self._answer = answer
        self._limits = limits
        self._encryption = encryption
        self._methods: dict[str, Method] = {}
        self._connections: set[Connection] = set()
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._greeting: set[asyncio.Task[None]] = set()

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Answer the methods of a service; generated code calls this. The handlers are grpc.RpcMethodHandler."""
        for name, handler in handlers.items():
            self._methods[f"/{service}/{name}"] = _method(service, name, handler)

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Generated code gives the same handlers a second time; nothing is to be done."""

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Let connections come to these bound sockets; they wait until the server starts."""
        for each in sockets:
            each.setblocking(False)
            each.listen(_BACKLOG)
            self._sockets.append(each)

    async def start(self) -> None:
        """Answer calls from now on."""
        self._accepting = [asyncio.create_task(self._accept(each)) for each in self._sockets]

    async def stop_accepting(self) -> None:
        """Take no new connections, and ask the clients of the others to use them for no new calls."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._close_sockets()
        for connection in list(self._connections):
            connection.retire()

    async def close(self, *, seconds: float) -> None:
        """End the calls that still run, send what waits to be sent for so long, and close all connections."""
        await self.stop_accepting()
        for task in self._greeting:
            task.cancel()
        for connection in list(self._connections):
            connection.finish(_STOPPING)
        await self._until_closed(seconds)
        for connection in list(self._connections):
            connection.abort()
        await self._until_closed(None)

    async def _until_closed(self, seconds: float | None) -> None:
        if self._connections:
            await asyncio.wait([each.closed for each in self._connections], timeout=seconds)

    def _close_sockets(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets.clear()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:  # the client is gone already, or there are too few file descriptors
                log.warning("a connection was not accepted", reason=error.strerror)
                await asyncio.sleep(_NO_ROOM_SECONDS)
                continue
            task = asyncio.create_task(self._greet(accepted))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, accepted: socket.socket) -> None:
        """Shake hands, if the connection is encrypted; then it lives on its own."""
        encryption = self._encryption()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._new_connection,
                accepted,
                ssl=encryption,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if encryption else None,
            )
        except (OSError, asyncio.CancelledError):  # TLS failed, or took too long
            accepted.close()

    def _new_connection(self) -> Connection:
        return Connection(self._limits, self._run, self._connections)

    async def _run(self, call: Call) -> None:
        """Answer a call, whatever happens."""
        try:
            await self._answer(call, self._methods.get(call.path))
        except Ended as ended:
            call.end(ended.status)
        except asyncio.CancelledError:
            if not call.is_over:
                call.end(_MISSED if call.has_missed_deadline else _STOPPING)
            raise
        except Exception as error:
            log.error("bug in smalti, please report it", path=call.path, exc_info=error)
            call.end(_BUG)


def _method(service: str, name: str, handler: Any) -> Method:
    answer = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return Method(
        service,
        name,
        answer,
        handler.request_deserializer,
        handler.response_serializer,
        handler.request_streaming,
        handler.response_streaming,
    )
