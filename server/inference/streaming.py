"""Answers ModelStreamInfer: many requests on one stream, with one response or several to each."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from server.errors import log_bug
from server.http2.statuses import Ended
from server.inference.drawing import Drawing
from server.inference.inferring import Inferring
from server.inference.naming import ProtocolModels
from server.inference.responses import Parts, in_stream, write_empty, write_failure
from smalti.errors import SmaltiError

_MOST_AT_ONCE, _MOST_BYTES = 64, 16 * 1024 * 1024  # requests of one stream; more wait in the client
Response = Parts | SmaltiError | Ended | None  # an error ends the stream with its status; None, in order


class _Room:
    """Bounds what a stream has in the server; a request that is larger than the limit comes alone."""

    def __init__(self) -> None:
        self._requests = self._bytes = 0
        self._left = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Wait until there is room for one more request, of so many bytes."""
        while self._requests and not self._fits(size):
            self._left.clear()
            await self._left.wait()
        self._count(1, size)

    def leave(self, size: int) -> None:
        """A request of so many bytes has its responses."""
        self._count(-1, -size)
        self._left.set()

    def _fits(self, size: int) -> bool:
        return self._requests < _MOST_AT_ONCE and self._bytes + size <= _MOST_BYTES

    def _count(self, requests: int, size: int) -> None:
        self._requests += requests
        self._bytes += size


@dataclass(eq=False, slots=True)
class _Stream:
    """One stream: what is ready to be sent, and how many requests are being answered."""

    deadline: float | None
    ends_at_error: bool
    ready: "asyncio.Queue[Response]" = field(default_factory=lambda: asyncio.Queue(maxsize=1))
    room: _Room = field(default_factory=_Room)


@dataclass(eq=False, slots=True)
class _Turn:
    """When a response may be sent: after those to the requests before it."""

    before: "_Turn | None"
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> None:
        if self.before is not None:
            await self.before.over.wait()
            self.before = None  # or all turns of the stream would be kept


class Streaming:
    """Answers the requests of a stream side by side.

    Models with one response answer in the order of the requests; the responses of decoupled models come in between,
    each as soon as it is there.
    """

    def __init__(self, models: ProtocolModels, inferring: Inferring, drawing: Drawing) -> None:
        self._models = models
        self._inferring = inferring
        self._drawing = drawing

    async def answer(
        self, requests: AsyncIterator[Any], deadline: float | None, *, ends_at_error: bool
    ) -> AsyncGenerator[Parts, None]:
        """The responses in parts. Closing this early ends all that is being answered.

        A refused request has a response with the error. With `ends_at_error` the error is raised instead.
        """
        stream = _Stream(deadline, ends_at_error)
        taking = asyncio.create_task(self._take(requests, stream))
        try:
            while (response := await stream.ready.get()) is not None:
                if isinstance(response, SmaltiError | Ended):
                    raise response
                yield response
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)

    async def _take(self, requests: AsyncIterator[Any], stream: _Stream) -> None:
        """Begin to answer each request as it comes."""
        last: _Turn | None = None
        end: SmaltiError | Ended | None = None
        async with asyncio.TaskGroup() as answering:
            try:
                async for request in requests:
                    await stream.room.enter(request.ByteSize())
                    if self._is_decoupled(request):
                        turn = _Turn(None)
                    else:
                        turn = last = _Turn(last)
                    answering.create_task(self._answer(request, stream, turn))
            except (SmaltiError, Ended) as error:  # a message that cannot be read; nothing can follow it
                end = error
            except Exception as error:  # noqa: BLE001  # the edge: the stream must end with a status
                end = log_bug(error)
        await stream.ready.put(end)

    async def _answer(self, request: Any, stream: _Stream, turn: _Turn) -> None:
        try:
            async with aclosing(self._responses(request, stream)) as responses:
                async for response in responses:
                    await turn.wait()
                    await stream.ready.put(response)
        finally:
            turn.over.set()
            stream.room.leave(request.ByteSize())

    async def _responses(self, request: Any, stream: _Stream) -> AsyncGenerator[Response, None]:
        """The responses to one request; the last one may be an error."""
        try:
            async with aclosing(self._written(request, stream)) as written:
                async for response in written:
                    yield in_stream(response)
        except SmaltiError as error:
            yield self._failure(request, error, stream)
        except Exception as error:  # noqa: BLE001  # the edge: the other requests of the stream go on
            yield self._failure(request, log_bug(error, model=request.model_name), stream)

    def _failure(self, request: Any, error: SmaltiError, stream: _Stream) -> Response:
        return error if stream.ends_at_error else write_failure(request, str(error))

    async def _written(self, request: Any, stream: _Stream) -> AsyncGenerator[Parts, None]:
        model = self._models.get(request.model_name, request.model_version)
        if not model.is_decoupled:
            yield await self._inferring.respond(model, request, stream.deadline, last=True)
            return
        asked = await self._inferring.read(model, request, stream.deadline)
        last_row = model.served.manifest.height - 1
        async with aclosing(self._drawing.rows(model, asked.inputs)) as rows:
            async for row in rows:
                last = row["row"][0] == last_row and not asked.options.wants_empty_final
                yield await self._inferring.write(model, request, row, asked, stream.deadline, last=last)
        if asked.options.wants_empty_final:
            yield write_empty(model, request.id)

    def _is_decoupled(self, request: Any) -> bool:
        try:
            return self._models.get(request.model_name, request.model_version).is_decoupled
        except SmaltiError:  # its response says so
            return False
