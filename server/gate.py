"""Stands before every RPC: maps errors to statuses, measures, and counts what runs, in one place."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from time import perf_counter
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from server.errors import abort, code_of
from smalti.errors import GraphFailed, InvalidRequest, SmaltiError
from smalti.runtime.metrics import RPC_SECONDS, RPCS_IN_PROGRESS

log = structlog.get_logger()
_UNCOUNTED = (
    "grpc.",
)  # health and reflection: their streams never end by themselves, so nobody waits for them
Context = Any  # grpc.aio.ServicerContext, whose stubs and runtime differ
Handler = Any  # grpc.RpcMethodHandler


class Malformed:
    """Stands for a request whose bytes are no message."""


class Gate(grpc.aio.ServerInterceptor):
    """Every RPC passes here; a handler only raises smalti's errors and knows neither statuses nor metrics."""

    def __init__(self) -> None:
        self._running = self._entered = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """RPCs of smalti's own services that run now."""
        return self._running

    async def wait_until_idle(self, *, quiet_seconds: float) -> None:
        """Return when no RPC of smalti's own services runs and none has come for so long.

        One that gRPC accepted a moment ago may still be on its way here.
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
        """The handler of the RPC, wrapped; none where gRPC knows no such method."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler  # only reflection streams requests
        _, service, method = handler_call_details.method.split("/")
        wrap = self._stream if handler.response_streaming else self._unary
        return wrap(handler, service, method)

    def _unary(self, handler: Handler, service: str, method: str) -> Handler:
        async def answer(request: Any, context: Context) -> Any:
            async with self._measured(context, service, method):
                return await handler.unary_unary(_well_formed(request), context)

        return grpc.unary_unary_rpc_method_handler(
            answer, _forgiving(handler.request_deserializer), handler.response_serializer
        )

    def _stream(self, handler: Handler, service: str, method: str) -> Handler:
        # Writes by itself instead of yielding: a client that goes away then interrupts this very stack, so that the
        # handler's own cleanup runs at once, and not when its generator is collected.
        async def answer(request: Any, context: Context) -> None:
            async with self._measured(context, service, method):
                await _write_all(handler.unary_stream(_well_formed(request), context), context)

        return grpc.unary_stream_rpc_method_handler(
            answer, _forgiving(handler.request_deserializer), handler.response_serializer
        )

    @asynccontextmanager
    async def _measured(self, context: Context, service: str, method: str) -> AsyncIterator[None]:
        start, code = perf_counter(), "OK"
        self._enter(service, method)
        try:
            yield
        except asyncio.CancelledError:
            code = _code_of_cancelled(context)
            raise  # gRPC ends the call; swallowing this would leak it
        except grpc.aio.AbortError:
            code = _code_of_aborted(context)
            raise
        except Exception as error:  # noqa: BLE001  # the edge: whatever a handler did, the client gets a status
            known = _as_smalti(error, service, method)
            code = code_of(known).name
            await abort(context, known)
        finally:
            self._leave(service, method)
            RPC_SECONDS.labels(service, method, code).observe(perf_counter() - start)

    def _enter(self, service: str, method: str) -> None:
        RPCS_IN_PROGRESS.labels(service, method).inc()
        if not service.startswith(_UNCOUNTED):
            self._running += 1
            self._entered += 1
            self._idle.clear()

    def _leave(self, service: str, method: str) -> None:
        RPCS_IN_PROGRESS.labels(service, method).dec()
        if not service.startswith(_UNCOUNTED):
            self._running -= 1
            if not self._running:
                self._idle.set()


async def _write_all(responses: Any, context: Context) -> None:
    if inspect.isawaitable(responses):  # health writes by itself
        await responses
        return
    async with aclosing(responses):
        async for response in responses:
            await context.write(response)


def _as_smalti(error: Exception, service: str, method: str) -> SmaltiError:
    if isinstance(error, SmaltiError):
        return error
    log.error("rpc failed", service=service, method=method, exc_info=error)
    return GraphFailed("The server failed on this request; its log has the cause.")


def _forgiving(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def parse_or_say_so(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return Malformed()

    return parse_or_say_so


def _well_formed(request: Any) -> Any:
    if isinstance(request, Malformed):
        raise InvalidRequest("The bytes of the request are no message of its type.")
    return request


def _code_of_cancelled(context: Context) -> str:
    left = context.time_remaining()
    return "DEADLINE_EXCEEDED" if left is not None and left <= 0 else "CANCELLED"


def _code_of_aborted(context: Context) -> str:
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else _NAMES.get(code, "UNKNOWN")


_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
