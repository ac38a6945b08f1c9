"""Stands around every RPC: gives it an id, lets it in, turns errors into statuses, measures, and counts what runs."""

import asyncio
import inspect
from collections import Counter
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import cache
from time import perf_counter
from typing import Any, Self

import grpc
from google.protobuf.message import DecodeError

from server.caller import set_caller
from server.calls import CallLimits, Calls
from server.errors import ending_of, log_bug
from server.http2.call import Call
from server.http2.server import Method
from server.http2.statuses import OK, Ended, Status
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
_TELLING_SECONDS = 1.0  # Prometheus asks less often
_UNTRACED = nullcontext(NO_SPAN)
_MISSED, _CANCELLED = Status(code=grpc.StatusCode.DEADLINE_EXCEEDED), Status(code=grpc.StatusCode.CANCELLED)
_NO_METHOD = Status(code=grpc.StatusCode.UNIMPLEMENTED, message="Method not found!")  # gRPC's own words


class Gate:
    """Stands around every RPC; handlers only raise smalti's errors and know neither statuses nor metrics."""

    def __init__(self, admission: Admission | None = None, calls: Calls | None = None) -> None:
        self._admission = admission or Admission()
        self._calls = calls or Calls(CallLimits())
        self._running = self._entered = 0
        self._in_progress: Counter[tuple[str, str]] = Counter()  # by service and method
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """RPCs of smalti's own services that run now."""
        return self._running

    async def wait_until_idle(self, *, quiet_seconds: float) -> None:
        """Return when none of smalti's own RPCs runs and no new one came for `quiet_seconds`.

        A call that a client made before it heard of the stop may still be on its way here.
        """
        entered = -1
        while entered != self._entered:
            await self._idle.wait()
            entered = self._entered
            await asyncio.sleep(quiet_seconds)

    async def keep_telling(self) -> None:
        """Tell the metrics once a second what runs, until cancelled: each call would pay more for it."""
        while True:
            self.tell()
            await asyncio.sleep(_TELLING_SECONDS)

    def tell(self) -> None:
        """Tell the metrics what runs now."""
        for names, running in self._in_progress.items():
            RPCS_IN_PROGRESS.labels(*names).set(running)

    async def answer(self, call: Call, method: Method | None) -> None:
        """Answer a call of a method; None stands for one that does not exist.

        A stranger learns nothing about methods; a client with a valid token learns which ones do not exist.
        """
        begin(choose(call.metadata))
        call.trailing = ((KEY, request_id()),)
        try:
            client = self._admission.admit(call.path, call.metadata, is_served=method is not None)
        except SmaltiError as refusal:
            call.end(ending_of(refusal))
            return
        if method is None:
            call.end(_NO_METHOD)
            return
        set_caller(client)
        await self._measured(call, method)

    async def _measured(self, call: Call, method: Method) -> None:
        start, status = perf_counter(), OK
        self._enter(method)
        call.serialize = method.serialize
        with _traced(call, method) as span:
            try:
                await self._answered(call, method)
            except asyncio.CancelledError:
                status = _MISSED if call.has_missed_deadline else _CANCELLED
                raise  # the call is ended by who cancelled it
            except Ended as ended:
                status = ended.status
            except Exception as error:  # noqa: BLE001  # the edge: whatever a handler did, the client gets a status
                status = ending_of(_known(error, method))
            finally:
                self._leave(method)
                _tell(span, status.code.name)
                _seconds(method.service, method.name, status.code.name).observe(perf_counter() - start)
        call.end(status)

    async def _answered(self, call: Call, method: Method) -> None:
        with self._calls.opened(method.service):
            if method.gives_stream:
                with self._calls.streaming(call.peer()):
                    await _write_all(method.answer(await _given(call, method), call), call)
            else:
                await call.write(await self._only_response(call, method))

    async def _only_response(self, call: Call, method: Method) -> Any:
        self._calls.refuse_more(method.service)  # before its request takes time and memory
        request = await _given(call, method)
        with self._calls.answered(method.service):
            return await method.answer(request, call)

    def _enter(self, method: Method) -> None:
        self._in_progress[method.service, method.name] += 1
        if not method.service.startswith(_UNCOUNTED):
            self._running += 1
            self._entered += 1
            self._idle.clear()

    def _leave(self, method: Method) -> None:
        self._in_progress[method.service, method.name] -= 1
        if not method.service.startswith(_UNCOUNTED):
            self._running -= 1
            if not self._running:
                self._idle.set()


def _known(error: Exception, method: Method) -> SmaltiError:
    return (
        error
        if isinstance(error, SmaltiError)
        else log_bug(error, service=method.service, method=method.name)
    )


async def _given(call: Call, method: Method) -> Any:
    """What the method takes: the only request, or all of them as they come."""
    return _Requests(call, method) if method.takes_stream else await _only_request(call, method)


async def _only_request(call: Call, method: Method) -> Any:
    data = await call.read()
    if data is None:
        raise InvalidRequest("The call ended without a request: send one message.")
    return _parsed(data, method)


class _Requests:
    """The requests of a stream; raises InvalidRequest at the first one that is malformed."""

    def __init__(self, call: Call, method: Method) -> None:
        self._call = call
        self._method = method

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if (data := await self._call.read()) is None:
            raise StopAsyncIteration
        return _parsed(data, self._method)


def _parsed(data: bytes, method: Method) -> Any:
    try:
        return method.parse(data)
    except DecodeError as error:
        raise InvalidRequest("The request cannot be parsed as a message of its type.") from error


async def _write_all(responses: Any, call: Call) -> None:
    if inspect.isawaitable(responses):  # a handler that writes by itself, such as health's
        await responses
        return
    async with aclosing(responses):
        async for response in responses:
            await call.write(response)


def _traced(call: Call, method: Method) -> AbstractContextManager[Span]:
    """The RPC's span, under the one that the client names."""
    if not tracing.is_on() or method.service.startswith(_UNCOUNTED):
        return _UNTRACED
    parent = next((value for key, value in call.metadata if key == _TRACEPARENT), "")
    return tracing.rpc(
        f"{method.service}/{method.name}",
        parent=parent if isinstance(parent, str) else "",
        attributes={"rpc.system": "grpc", "rpc.service": method.service, "rpc.method": method.name},
    )


def _tell(span: Span, code: str) -> None:
    if span is NO_SPAN:
        return
    span.set({"rpc.grpc.status_code": grpc.StatusCode[code].value[0]})
    if code in _FAULTS:
        span.fail()


# Remembered, because a look-up of labels costs as much as the measurement. Only methods that exist come here.
_seconds = cache(RPC_SECONDS.labels)
