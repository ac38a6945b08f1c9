"""Sends spans to a receiver of OpenTelemetry, by OTLP over gRPC. It needs the extra `otel`."""

import logging
import os
from collections.abc import Callable
from threading import Thread
from time import monotonic

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from smalti.runtime.spans import Attributes, Span

log = structlog.get_logger()
_FORM = TraceContextTextMapPropagator()
_NO_PROXY = (("grpc.enable_http_proxy", "0"),)
_SAY_AGAIN_SECONDS = 60.0


class OtlpTracer:
    """Collects spans in memory and sends them from a thread of its own, so that nothing waits for the receiver.

    Spans that find no room, or no receiver, are lost.
    """

    def __init__(self, endpoint: str, *, service: str, process: int | None) -> None:
        _route_complaints()
        self._exporter = OTLPSpanExporter(
            endpoint=endpoint, insecure=endpoint.startswith("http:"), channel_options=_NO_PROXY
        )
        self._provider = TracerProvider(resource=_resource(service, process), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("smalti")

    def start(
        self, name: str, *, parent: str, attributes: Attributes, start_ns: int | None, is_rpc: bool
    ) -> Span:
        """A new span; without a good parent it begins a new trace."""
        return OtlpSpan(
            self._tracer.start_span(
                name,
                context=_FORM.extract({"traceparent": parent}),
                kind=trace.SpanKind.SERVER if is_rpc else trace.SpanKind.INTERNAL,
                attributes=attributes,
                start_time=start_ns,
            )
        )

    def close(self, seconds: float) -> None:
        """Send what has ended; give up after so many seconds."""
        sending = Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(seconds)
        if sending.is_alive():
            self._exporter.shutdown(timeout_millis=0)  # ends a wait between two tries


class OtlpSpan(Span):
    """A span that is sent once it has ended, if its trace is sampled."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _FORM.inject(carrier, trace.set_span_in_context(span))
        self.traceparent = carrier.get("traceparent", "")

    def set(self, attributes: Attributes) -> None:
        """Say more about the step."""
        self._span.set_attributes(attributes)

    def event(self, name: str) -> None:
        """Something happened now."""
        self._span.add_event(name)

    def link(self, traceparent: str) -> None:
        """The step has to do with this span of another trace."""
        other = trace.get_current_span(_FORM.extract({"traceparent": traceparent})).get_span_context()
        if other.is_valid:
            self._span.add_link(other)

    def fail(self) -> None:
        """The step fails. The reason is not told: it may hold a client's words."""
        self._span.set_status(trace.StatusCode.ERROR)

    def end(self, at_ns: int | None = None) -> None:
        """The step is over: now, or since this time in nanoseconds since 1970."""
        self._span.end(at_ns)


def _resource(service: str, process: int | None) -> Resource:
    number = {} if process is None else {"smalti.process": process}
    return Resource.create({"service.name": service, "process.pid": os.getpid(), **number})


class _Complaints(logging.Handler):
    """Brings what OpenTelemetry says into smalti's log, once a minute: a receiver that is away is no trouble."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(logging.WARNING)
        self._clock = clock
        self._said = -_SAY_AGAIN_SECONDS

    def emit(self, record: logging.LogRecord) -> None:
        """Log it, unless something was logged a moment ago."""
        now = self._clock()
        if now - self._said >= _SAY_AGAIN_SECONDS:
            self._said = now
            log.warning("spans are not delivered", reason=record.getMessage())


def _route_complaints() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.handlers, logger.propagate = [_Complaints()], False
