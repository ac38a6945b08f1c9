"""What a trace is made of: spans, and what starts them. Those here do nothing: they stand in while tracing is off."""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

Attributes: TypeAlias = Mapping[str, str | int | float | bool]
NO_ATTRIBUTES: Attributes = {}


class Span:
    """One step of a trace, with a start and an end. This one does nothing."""

    traceparent = ""  # names the span, in the form of W3C; empty if there is none

    def set(self, attributes: Attributes) -> None:
        """Say more about the step."""

    def event(self, name: str) -> None:
        """Something happened now."""

    def link(self, traceparent: str) -> None:
        """The step has to do with this span of another trace."""

    def fail(self) -> None:
        """The step fails."""

    def end(self, at_ns: int | None = None) -> None:
        """The step is over: now, or since this time in nanoseconds since 1970."""


NO_SPAN = Span()


class Tracer(Protocol):
    """Starts spans and sends those that ended."""

    def start(
        self, name: str, *, parent: str, attributes: Attributes, start_ns: int | None, is_rpc: bool
    ) -> Span:
        """A new span; `parent` is a traceparent, and `start_ns` is since 1970 (default: now)."""

    def close(self, seconds: float) -> None:
        """Send what has ended; give up after so many seconds."""
