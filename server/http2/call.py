"""One call: the messages that its client sends, and what is answered."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, Protocol

from grpc import StatusCode

from server.http2.messages import Message, MessageReader, Sealed, framed, unreadable
from server.http2.metadata import Request
from server.http2.statuses import OK, Ended, Metadata, Status


class Line(Protocol):
    """What a call needs of its connection."""

    peer: str

    def acknowledge(self, call: "Call", amount: int, missing: int) -> None:
        """Let the client send as many bytes as were read, and those that the message in hand lacks."""

    async def send(self, call: "Call", pieces: Iterable[bytes | memoryview]) -> None:
        """Send a part of the response; waits while the client takes none."""

    def end(self, call: "Call", status: Status) -> None:
        """Send what ends the response."""


class Call:
    """A call from its headers to its status. Handlers know it as their context.

    A call ends by its status, by its deadline, or by its client, who goes; the last two cancel the task that answers.
    """

    def __init__(self, line: Line, stream: int, request: Request, *, most_bytes: int) -> None:
        self._line = line
        self._loop = asyncio.get_running_loop()
        self.stream = stream  # the number of its HTTP/2 stream
        self.path = request.path
        self.metadata = request.metadata
        self.serialize: Callable[[Any], Message]  # how the method's responses are written
        self.trailing: Metadata = ()  # follows the responses, whatever the status
        self.task: asyncio.Task[None] | None = None  # answers the call
        self.has_headers = False  # of the response
        self.is_over = False  # its status was sent, or its client is gone
        self.has_begun = self.has_whole_request = False  # the request
        self.unread = 0  # bytes that the client may not replace yet
        self._reader = MessageReader(request.encoding, most_bytes)
        self._messages: deque[Sealed] = deque()
        self._fault: Ended | None = None  # what follows the messages
        self._arrival: asyncio.Future[None] | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        if request.timeout_seconds is not None:
            self._deadline = self._loop.time() + request.timeout_seconds
            self._timer = self._loop.call_at(self._deadline, self._stop)

    # What handlers use.

    def peer(self) -> str:
        """The client's address; the same for all calls of a connection, and for no other connection's."""
        return self._line.peer

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None where the client set none."""
        return None if self._deadline is None else max(self._deadline - self._loop.time(), 0.0)

    async def read(self) -> bytes | None:
        """The next message, or None after the last one; raises Ended for one that cannot be accepted."""
        while not self._messages:
            if self._fault:
                raise self._fault
            if self.has_whole_request:
                return None
            self._line.acknowledge(self, self.unread, self._reader.missing)
            self._arrival = self._loop.create_future()
            await self._arrival
        return self._reader.open(self._messages.popleft())

    async def write(self, response: Any) -> None:
        """Send a response, as `serialize` writes it. Waits while the client takes no more."""
        await self._line.send(self, framed(self.serialize(response)))

    async def abort(self, code: StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with this status."""
        raise Ended(Status(code=code, message=details, trailing=trailing_metadata))

    def end(self, status: Status = OK) -> None:
        """Send the status, after all responses. Does nothing where the client is gone."""
        if self.is_over:
            return
        self._close()
        trailing = (*self.trailing, *status.trailing)
        self._line.end(self, Status(code=status.code, message=status.message, trailing=trailing))

    # What the connection uses.

    @property
    def has_missed_deadline(self) -> bool:
        """Whether the client waits no more because the deadline has passed."""
        return self._deadline is not None and self._loop.time() >= self._deadline

    def feed(self, data: bytes) -> None:
        """Bytes of the request have come."""
        self.has_begun = True
        self.unread += len(data)
        if self._fault or self.is_over:
            return
        try:
            self._messages.extend(self._reader.feed(data))
        except Ended as fault:
            self._fault = fault
        self._tell()
        if self._arrival and not self._messages:
            self._line.acknowledge(self, self.unread, self._reader.missing)

    def finish(self) -> None:
        """The whole request has come."""
        self.has_whole_request = True
        if self._reader.missing and not self._fault:
            self._fault = unreadable("the call ended within it")
        self._tell()

    def leave(self) -> None:
        """The client is gone, or wants no answer any more."""
        if not self.is_over:
            self._close()
            self._stop()

    def _close(self) -> None:
        self.is_over = True
        if self._timer:
            self._timer.cancel()

    def _stop(self) -> None:
        if self.task:
            self.task.cancel()

    def _tell(self) -> None:
        """Wake the task that waits for a message, if there is something to tell."""
        if self._arrival and (self._messages or self._fault or self.has_whole_request):
            if not self._arrival.done():
                self._arrival.set_result(None)
            self._arrival = None
