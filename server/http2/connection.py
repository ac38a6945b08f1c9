"""One client's connection: feeds nghttp2 with bytes, makes calls of its streams, and sends what it gives."""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import ngh2
from ngh2 import events

from server.http2 import metadata
from server.http2.call import Call
from server.http2.statuses import Ended, Status

_STREAM_WINDOW = 65_535  # bytes that a client may send before somebody reads them
_LARGEST_WINDOW = 4 << 20  # for a large message that is being read
_CONNECTION_WINDOW = 1 << 30  # the windows of the streams are what limits
_CERTAIN_HEADER_BYTES = 4 * metadata.MOST_BYTES  # more end the connection, with all of its calls
_MOST_UNSENT_BYTES, _FEW_UNSENT_BYTES = 262_144, 65_536  # of one call: its handler waits, and goes on
_WRITE_BYTES = 65_536  # handed to the transport at once
_GREETING_SECONDS = 20.0  # for the first bytes of HTTP/2
_PAUSE_SECONDS = 0.05  # in which a client sends a message that it has begun to send
_FINISHING_SECONDS = 1.0  # for a client to send the requests of a call that is answered
_RETIRING_SECONDS = 10.0  # for a client to say that it makes no new calls here
_RETIRING = b"retiring"  # the ping that a client answers after the calls that it made before
_PING_STRIKES = 3
_NO_ERROR, _CANCEL, _ENHANCE_YOUR_CALM = 0, 8, 11
_HTTP2 = ngh2.Configuration(
    auto_window_update=False,
    max_inbound_header_list_size=_CERTAIN_HEADER_BYTES,
    # Clients end calls at short deadlines; what a call costs that is ended at once is little.
    stream_reset_rate_limit=(10_000, 1_000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection may do."""

    calls: int  # at once
    message_bytes: int  # of one request
    keepalive_seconds: float  # of silence until a ping, and then until the end
    age_seconds: float | None = None  # then its client is asked to make another one


class Connection(asyncio.Protocol):
    """A connection from its first byte to its last.

    A client that was silent for `keepalive_seconds` is pinged; one that does not answer for as long again is gone. So
    is one that pings more often than four times in that time while nothing is sent to it.
    """

    def __init__(self, limits: Limits, answer: Callable[[Call], Any], living: set["Connection"]) -> None:
        self._limits = limits
        self._answer = answer
        self._living = living  # all connections of the server; this one joins them, and leaves
        self._loop = asyncio.get_running_loop()
        self._http2 = ngh2.Connection(ngh2.Role.SERVER, _HTTP2)
        self._calls: dict[int, Call] = {}
        self._waiting: dict[
            int, asyncio.Future[None]
        ] = {}  # streams whose handlers wait until the client takes more
        self._ends: dict[int, tuple[Call, Status]] = {}  # of streams whose clients may be sending
        self._unfinished: set[int] = set()  # streams that were answered before their whole request had come
        self._transport: Any = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._is_paused = self._is_flushing = self._is_lost = self._has_greeted = self._is_pinged = (
            self._is_retired
        ) = False
        self._heard = self._unsent_since = self._loop.time()
        self._unsent = 0  # bytes, at the last look
        self._pings = _Pings(limits.keepalive_seconds / 4)
        self._timers: list[asyncio.TimerHandle] = []
        self._watch: asyncio.TimerHandle | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._living.add(self)
        self.peer = _written(self._transport.get_extra_info("peername"))
        self._http2.initiate_connection(
            {
                ngh2.Setting.MAX_CONCURRENT_STREAMS: self._limits.calls,
                ngh2.Setting.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
                ngh2.Setting.MAX_HEADER_LIST_SIZE: metadata.MOST_BYTES,
            }
        )
        self._http2.set_local_window_size(_CONNECTION_WINDOW)
        self._timers.append(self._loop.call_later(_GREETING_SECONDS, self._expect_greeting))
        if self._limits.age_seconds is not None:
            age = self._limits.age_seconds * random.uniform(
                0.9, 1.1
            )  # or all clients would come back at once
            self._timers.append(self._loop.call_later(age, self.retire))
        self._look_later(self._limits.keepalive_seconds)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard, self._is_pinged = self._loop.time(), False
        try:
            self._http2.receive_data(data)
        except ngh2.NGH2Error:  # it speaks another protocol, or breaks this one: nghttp2 is of no more use
            self._is_lost = True
            self._transport.abort()
            return
        self._handle_events()
        self._flush()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        for timer in (*self._timers, self._watch):
            if timer:
                timer.cancel()
        for call in list(self._calls.values()):
            call.leave()
        self._calls.clear()
        self._wake_all()
        self._living.discard(self)
        self.closed.set_result(None)

    # What the server calls.

    def retire(self) -> None:
        """Ask the client to use another connection for new calls; those that run stay here until they end."""
        if self._is_usable and not self._is_retired:
            self._is_retired = True
            self._http2.send_shutdown_notice()
            self._http2.ping(_RETIRING)
            self._flush()
            self._timers.append(self._loop.call_later(_RETIRING_SECONDS, self._refuse))

    def finish(self, status: Status) -> None:
        """End all calls with a status, and close when everything is sent."""
        for call in list(self._calls.values()):
            if call.task and not call.is_over:
                call.end(status)
                call.task.cancel()
        self._refuse()

    def abort(self) -> None:
        """Close at once."""
        if self._transport:
            self._transport.abort()

    # What calls use.

    def acknowledge(self, call: Call, amount: int, missing: int) -> None:
        call.unread -= amount
        self._credit(call.stream, amount)
        if missing > _STREAM_WINDOW and call.stream in self._calls and self._is_usable:
            self._widen(call.stream, min(missing, _LARGEST_WINDOW))
        self._flush_soon()

    async def send(self, call: Call, pieces: Iterable[bytes | memoryview]) -> None:
        for piece in pieces:
            if call.is_over or not self._is_usable:
                return
            self._begin_response(call)
            self._http2.send_data(call.stream, piece)
            self._flush_soon()
            if self._http2.queued_body_size(call.stream) > _MOST_UNSENT_BYTES:
                await self._until_taken(call.stream)

    def end(self, call: Call, status: Status) -> None:
        if call.has_whole_request:
            self._send_end(call, status)
        else:
            # Clients of gRPC in Python forget the status if it comes while they send a message.
            self._ends[call.stream] = call, status
            self._end_later(call.stream, _PAUSE_SECONDS if call.has_begun else _FINISHING_SECONDS)

    # Inside.

    def _handle_events(self) -> None:
        for event in self._http2.events():
            if handle := _HANDLERS.get(type(event)):
                try:
                    handle(self, event)
                except ngh2.StreamProtocolError:  # the same bytes end the stream: that event follows
                    continue

    def _begin_call(self, event: events.RequestReceived) -> None:
        try:
            request = metadata.read(event.headers)
        except metadata.NotGrpc as refusal:
            self._http2.send_response(event.stream_id, ((b":status", refusal.http_status),), end_stream=True)
            self._let_finish(event.stream_id)
            return
        except Ended as refusal:
            self._send_only_trailers(event.stream_id, refusal.status)
            self._let_finish(event.stream_id)
            return
        call = Call(self, event.stream_id, request, most_bytes=self._limits.message_bytes)
        self._calls[event.stream_id] = call
        call.has_whole_request = event.end_stream
        call.task = self._loop.create_task(self._answer(call))

    def _take_data(self, event: events.DataReceived) -> None:
        if (call := self._calls.get(event.stream_id)) is None:
            self._credit(event.stream_id, len(event.data))
            return
        if event.data:
            call.feed(event.data)
        if event.end_stream:
            call.finish()
        if event.stream_id in self._ends:
            self._end_later(event.stream_id, 0 if event.end_stream else _PAUSE_SECONDS)

    def _finish_request(self, event: events.TrailersReceived) -> None:
        if call := self._calls.get(event.stream_id):
            call.finish()

    def _end_stream(self, event: events.StreamClosed) -> None:
        self._unfinished.discard(event.stream_id)
        self._ends.pop(event.stream_id, None)
        self._wake(event.stream_id)
        if (call := self._calls.pop(event.stream_id, None)) is None:
            return
        call.leave()
        self._credit(call.stream, call.unread)
        call.unread = 0

    def _greet(self, event: events.SettingsReceived) -> None:
        self._has_greeted = True

    def _take_answer_to_ping(self, event: events.PingAcknowledged) -> None:
        if event.opaque_data == _RETIRING:
            self._refuse()

    def _count_ping(self, event: events.PingReceived) -> None:
        if self._pings.count(self._loop.time()) and self._is_usable and not self._transport.is_closing():
            self._http2.send_goaway(_ENHANCE_YOUR_CALM, debug_data=b"too_many_pings")
            self._flush()
            self._transport.close()

    @property
    def _is_usable(self) -> bool:
        """Whether the connection is there, and nghttp2 has not ended it."""
        return not self._is_lost and self._http2.want_read

    def _credit(self, stream: int, amount: int) -> None:
        """Let the client send as much again."""
        if amount and self._is_usable:
            self._http2.acknowledge_received_data(amount, stream)

    def _begin_response(self, call: Call) -> None:
        if not call.has_headers:
            call.has_headers = True
            self._http2.send_response(call.stream, metadata.RESPONSE)

    def _widen(self, stream: int, size: int) -> None:
        if self._http2.stream_local_window_size(stream) < size:
            self._http2.set_local_window_size(size, stream_id=stream)

    async def _until_taken(self, stream: int) -> None:
        taken = self._waiting[stream] = self._loop.create_future()
        await taken

    def _flush_soon(self) -> None:
        """Send at the end of this turn of the loop: what several calls give travels together."""
        if not self._is_flushing and not self._is_lost:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        self._write()
        if self._is_lost:
            return
        self._handle_events()
        self._wake_served()
        if not self._http2.want_read and not self._http2.want_write:
            self._transport.close()

    def _write(self) -> None:
        unsent = self._http2.queued_body_size()
        while not self._is_paused and not self._is_lost and (data := self._http2.data_to_send(_WRITE_BYTES)):
            self._transport.write(data)
        if self._http2.queued_body_size() < unsent:
            self._pings.forgive()  # clients measure the line by pings amid data

    def _end_later(self, stream: int, seconds: float) -> None:
        self._loop.call_later(seconds, self._send_late_end, stream)

    def _send_late_end(self, stream: int) -> None:
        if late := self._ends.pop(stream, None):
            self._send_end(*late)

    def _send_end(self, call: Call, status: Status) -> None:
        if not self._is_usable:
            return
        self._pings.forgive()
        if call.has_missed_deadline and self._http2.queued_body_size(call.stream) > _FEW_UNSENT_BYTES:
            self._http2.reset_stream(call.stream, _CANCEL)  # or what nobody takes would be kept
        elif call.has_headers:
            self._http2.send_trailers(call.stream, metadata.trailers(status))
        else:
            self._send_only_trailers(call.stream, status)
        if not call.has_whole_request:
            self._let_finish(call.stream)
        self._flush_soon()

    def _send_only_trailers(self, stream: int, status: Status) -> None:
        headers = (*metadata.RESPONSE, *metadata.trailers(status))
        self._http2.send_response(stream, headers, end_stream=True)

    def _let_finish(self, stream: int) -> None:
        """Give a client time to end the requests of a call that is answered; most do so by themselves.

        Clients of gRPC in Python fail if the stream is gone when they send.
        """
        self._unfinished.add(stream)
        self._loop.call_later(_FINISHING_SECONDS, self._cut_off, stream)

    def _cut_off(self, stream: int) -> None:
        """Take no more requests of an answered call; later, where the answer itself is still on its way."""
        if not self._is_usable or stream not in self._unfinished:
            return
        if self._http2.queued_body_size(stream) or self._is_paused:
            self._let_finish(stream)
        else:
            self._http2.reset_stream(stream, _NO_ERROR)
            self._flush()

    def _wake_served(self) -> None:
        for stream in list(self._waiting):
            if self._http2.queued_body_size(stream) <= _FEW_UNSENT_BYTES:
                self._wake(stream)

    def _wake(self, stream: int) -> None:
        if (waiting := self._waiting.pop(stream, None)) and not waiting.done():
            waiting.set_result(None)

    def _wake_all(self) -> None:
        for stream in list(self._waiting):
            self._wake(stream)

    def _refuse(self) -> None:
        """Take no new calls; nghttp2 is done when those that run have ended."""
        if self._is_usable:
            self._http2.send_goaway(_NO_ERROR)
            self._flush()

    def _expect_greeting(self) -> None:
        if not self._has_greeted:
            self._transport.abort()

    def _look_later(self, seconds: float) -> None:
        self._watch = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Ping a client that is silent; leave one that stays so, or that takes nothing."""
        silent, most = self._loop.time() - self._heard, self._limits.keepalive_seconds
        if (self._is_pinged and silent >= 2 * most) or self._stuck_seconds() >= 2 * most:
            self._transport.abort()
            return
        if silent >= most and not self._is_pinged:
            self._is_pinged = True
            if self._is_usable:
                self._http2.ping()
                self._flush()
        self._look_later((2 if self._is_pinged else 1) * most - silent)

    def _stuck_seconds(self) -> float:
        """For how long the client has taken nothing of what waits to be sent."""
        now, unsent = self._loop.time(), self._transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        return now - self._unsent_since


class _Pings:
    """Counts pings that come too often while nothing is sent."""

    def __init__(self, shortest_seconds: float) -> None:
        self._shortest = shortest_seconds
        self._last = float("-inf")
        self._strikes = 0

    def count(self, now: float) -> bool:
        """One more ping; returns whether there were too many."""
        self._strikes += now - self._last < self._shortest
        self._last = now
        return self._strikes >= _PING_STRIKES

    def forgive(self) -> None:
        """Something was sent, so that a ping is no sign of a flood."""
        self._strikes, self._last = 0, float("-inf")


def _written(peer: Any) -> str:
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unknown"


_HANDLERS: dict[type[events.Event], Callable[[Connection, Any], None]] = {
    events.RequestReceived: Connection._begin_call,
    events.DataReceived: Connection._take_data,
    events.TrailersReceived: Connection._finish_request,
    events.StreamClosed: Connection._end_stream,
    events.SettingsReceived: Connection._greet,
    events.PingReceived: Connection._count_ping,
    events.PingAcknowledged: Connection._take_answer_to_ping,
}
