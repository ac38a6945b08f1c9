"""Wraps every RPC: gives it an id, lets it in, turns errors into statuses, measures, and counts what runs."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, nullcontext
from functools import cache
from time import perf_counter
from typing import Any, Self

import grpc
from google.protobuf.message import DecodeError

from server.caller import set_caller
from server.calls import CallLimits, Calls
from server.context import Context
from server.errors import abort, code_of, log_bug
from server.request_ids import KEY, begin, choose, request_id
from server.security.admission import Admission
from smalti.errors import InvalidRequest, SmaltiError
from smalti.runtime import tracing
from smalti.runtime.metrics import RPC_SECONDS, RPCS_IN_PROGRESS
from smalti.runtime.spans import NO_SPAN, Span

_UNCOUNTED = "grpc."  # health and reflection: a stop does not wait for their streams, which may never end
_TRACEPARENT = "traceparent"  # in the metadata of a request
_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)  # marked as errors
_UNTRACED = nullcontext(NO_SPAN)
Handler = Any  # grpc.RpcMethodHandler
# Every method reads a stream, so that the gate hears of a call before its request has come.
_MAKE_HANDLER: dict[bool, Callable[..., Handler]] = {  # by response streaming
    False: grpc.stream_unary_rpc_method_handler,
    True: grpc.stream_stream_rpc_method_handler,
}


class Malformed:
    """Stands for a request whose bytes cannot be parsed."""


class Gate(grpc.aio.ServerInterceptor):
    """Wraps every RPC; handlers only raise smalti's errors and know neither statuses nor metrics."""

    def __init__(self, admission: Admission | None = None, calls: Calls | None = None) -> None:
        self._admission = admission or Admission()
        self._calls = calls or Calls(CallLimits())
        self._running = self._entered = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """RPCs of smalti's own services that run now."""
        return self._running

    async def wait_until_idle(self, *, quiet_seconds: float) -> None:
        """Return when none of smalti's own RPCs runs and no new one came for `quiet_seconds`.

        An RPC that gRPC accepted a moment ago may still be on its way here.
        """
        entered = -1
        while entered != self._entered:
            await self._idle.wait()
            entered = self._entered
            await asyncio.sleep(quiet_seconds)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The RPC's handler, wrapped; None for a method that does not exist.

        A stranger learns nothing about methods; a client with a valid token learns which ones do not exist.
        """
        path, metadata = handler_call_details.method, handler_call_details.invocation_metadata or ()
        begin(choose(metadata))
        handler = await continuation(handler_call_details)  # nothing of it runs yet
        try:
            client = self._admission.admit(path, metadata, is_served=handler is not None)
        except SmaltiError as refusal:
            return _refusing(refusal)
        set_caller(client)  # the handler runs in this task, too
        if handler is None:
            return None
        _, service, method = path.split("/")
        return self._wrap(handler, service, method)

    def _wrap(self, handler: Handler, service: str, method: str) -> Handler:
        call = _behaviour(handler)
        given = _stream if handler.request_streaming else _single

        async def answer_once(requests: Any, context: Context) -> Any:
            async with self._measured(context, service, method):
                with self._calls.opened(service):
                    self._calls.refuse_more(service)  # before its request takes time and memory
                    request = await given(requests, context)
                    with self._calls.answered(service):
                        return await call(request, context)

        # Writes the responses itself instead of yielding them. When the client goes away, gRPC then cancels this very
        # stack, and the handler's cleanup runs at once, not when its generator is collected.
        async def answer_with_stream(requests: Any, context: Context) -> None:
            async with self._measured(context, service, method):
                with self._calls.opened(service), self._calls.streaming(context.peer()):
                    await _write_all(call(await given(requests, context), context), context)

        return _MAKE_HANDLER[handler.response_streaming](
            answer_with_stream if handler.response_streaming else answer_once,
            _forgiving(handler.request_deserializer),
            handler.response_serializer,
        )

    @asynccontextmanager
    async def _measured(self, context: Context, service: str, method: str) -> AsyncIterator[None]:
        start, code = perf_counter(), "OK"
        self._enter(service, method)
        context.set_trailing_metadata(((KEY, request_id()),))
        with _traced(context, service, method) as span:
            try:
                yield
            except asyncio.CancelledError:
                code = _code_of_cancelled(context)
                raise  # gRPC ends the call; swallowing this would leak it
            except grpc.aio.AbortError:
                code = _code_of_aborted(context)
                raise
            except Exception as error:  # noqa: BLE001  # the edge: whatever a handler did, the client gets a status
                known = (
                    error
                    if isinstance(error, SmaltiError)
                    else log_bug(error, service=service, method=method)
                )
                code = code_of(known).name
                await abort(context, known)
            finally:
                self._leave(service, method)
                _tell(span, code)
                _seconds(service, method, code).observe(perf_counter() - start)

    def _enter(self, service: str, method: str) -> None:
        _in_progress(service, method).inc()
        if not service.startswith(_UNCOUNTED):
            self._running += 1
            self._entered += 1
            self._idle.clear()

    def _leave(self, service: str, method: str) -> None:
        _in_progress(service, method).dec()
        if not service.startswith(_UNCOUNTED):
            self._running -= 1
            if not self._running:
                self._idle.set()


def _refusing(refusal: SmaltiError) -> Handler:
    """A handler of any method: a stream, because it answers before it reads a request."""

    async def refuse(requests: Any, context: Context) -> None:
        await abort(context, refusal)

    return grpc.stream_stream_rpc_method_handler(refuse)


def _behaviour(handler: Handler) -> Callable[..., Any]:
    """The function that answers the handler's calls."""
    found: Callable[..., Any] = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    return found


async def _single(_: Any, context: Context) -> Any:
    """The only request of a call; raises InvalidRequest where there is none."""
    request = await context.read()
    if request is grpc.aio.EOF:
        raise InvalidRequest("The call ended without a request: send one message.")
    return _well_formed(request)


async def _stream(requests: AsyncIterator[Any], _: Context) -> AsyncIterator[Any]:
    return _WellFormed(requests)


async def _write_all(responses: Any, context: Context) -> None:
    if inspect.isawaitable(responses):  # a handler that writes by itself, such as health's
        await responses
        return
    async with aclosing(responses):
        async for response in responses:
            await context.write(response)


def _forgiving(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A parser that gives Malformed where `parse` raises: gRPC would answer INTERNAL before the gate sees the RPC."""

    def parse_or_mark(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return Malformed()

    return parse_or_mark


def _well_formed(request: Any) -> Any:
    if isinstance(request, Malformed):
        raise InvalidRequest("The request cannot be parsed as a message of its type.")
    return request


class _WellFormed:
    """The requests of a stream; raises InvalidRequest at the first one that is malformed."""

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = aiter(requests)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return _well_formed(await anext(self._requests))


def _traced(context: Context, service: str, method: str) -> AbstractContextManager[Span]:
    """The RPC's span, under the one that the client names."""
    if not tracing.is_on() or service.startswith(_UNCOUNTED):
        return _UNTRACED
    parent = next((value for key, value in context.invocation_metadata() or () if key == _TRACEPARENT), "")
    return tracing.rpc(
        f"{service}/{method}",
        parent=parent if isinstance(parent, str) else "",
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
    )


def _tell(span: Span, code: str) -> None:
    if span is NO_SPAN:
        return
    span.set({"rpc.grpc.status_code": grpc.StatusCode[code].value[0]})
    if code in _FAULTS:
        span.fail()


def _code_of_cancelled(context: Context) -> str:
    left = context.time_remaining()
    return "DEADLINE_EXCEEDED" if left is not None and left <= 0 else "CANCELLED"


def _code_of_aborted(context: Context) -> str:
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else _NAMES.get(code, "UNKNOWN")


# Remembered, because a look-up of labels costs as much as the measurement. Only methods that exist come here.
_seconds = cache(RPC_SECONDS.labels)
_in_progress = cache(RPCS_IN_PROGRESS.labels)
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
