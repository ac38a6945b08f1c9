"""Traces what happens to requests and samples, if a receiver is set; if not, nothing is imported for it.

A traceparent is a text that names a span in this process or another one, in the form of W3C.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from time import monotonic_ns, time_ns

from smalti.errors import SettingsInvalid
from smalti.runtime.spans import NO_ATTRIBUTES, NO_SPAN, Attributes, Span, Tracer

_LONGEST_FLUSH_SECONDS = 2.0
_current: ContextVar[Span] = ContextVar("span", default=NO_SPAN)
_off = nullcontext(NO_SPAN)
_tracer: Tracer | None = None  # set once, when the process starts


@asynccontextmanager
async def exporting(
    endpoint: str, *, service: str, grace_seconds: float, process: int | None = None
) -> AsyncIterator[None]:
    """Trace as long as this lasts, unless the endpoint is empty; raises SettingsInvalid.

    At the end, spans that are not sent yet have two seconds, or the grace if that is shorter.
    """
    global _tracer  # noqa: PLW0603  # the one place that sets it
    tracer = _tracer = _open(endpoint, service, process) if endpoint else None
    try:
        yield
    finally:
        _tracer = None
        if tracer:
            await asyncio.to_thread(tracer.close, min(grace_seconds, _LONGEST_FLUSH_SECONDS))


def _open(endpoint: str, service: str, process: int | None) -> Tracer:
    try:
        from smalti.runtime.otlp import OtlpTracer
    except ImportError as error:
        raise SettingsInvalid(
            "SMALTI_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: install smalti[otel], or unset it."
        ) from error
    return OtlpTracer(endpoint, service=service, process=process)


def is_on() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def current() -> Span:
    """The span of the RPC that this task answers."""
    return _current.get()


def rpc(name: str, *, parent: str, attributes: Attributes) -> AbstractContextManager[Span]:
    """The span of an RPC, which is the current one meanwhile; without a good parent it begins a new trace."""
    if _tracer is None:
        return _off
    return _entered(_tracer.start(name, parent=parent, attributes=attributes, start_ns=None, is_rpc=True))


def start(
    name: str, *, parent: str, attributes: Attributes = NO_ATTRIBUTES, seconds_ago: float = 0.0
) -> Span:
    """A span whose caller ends it. There is none without a parent."""
    if _tracer is None or not parent:
        return NO_SPAN
    start_ns = time_ns() - round(seconds_ago * 1e9)
    return _tracer.start(name, parent=parent, attributes=attributes, start_ns=start_ns, is_rpc=False)


def record(steps: Mapping[str, tuple[int, int]], attributes: Attributes) -> None:
    """Steps of the current span that are over already: their starts and ends by time.monotonic_ns."""
    parent = current().traceparent
    if _tracer is None or not parent:
        return
    epoch = time_ns() - monotonic_ns()
    for name, (start_ns, end_ns) in steps.items():
        span = _tracer.start(
            name, parent=parent, attributes=attributes, start_ns=epoch + start_ns, is_rpc=False
        )
        span.end(epoch + end_ns)


@contextmanager
def _entered(span: Span) -> Iterator[Span]:
    token = _current.set(span)
    try:
        yield span
    finally:
        _current.reset(token)
        span.end()
