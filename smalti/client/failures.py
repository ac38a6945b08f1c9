"""Turns the errors that gRPC raises into smalti's; server/errors.py is the other direction."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, isnan
from time import monotonic
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from smalti.errors import (
    DOMAIN,
    Busy,
    DeadlinePassed,
    GraphFailed,
    InternalError,
    InvalidRequest,
    SmaltiError,
    Unavailable,
    reason_of,
)

_SHORTEST_DELAY_SECONDS = 0.05  # even if the server says less
_LONGEST_QUOTE = 300  # characters of what gRPC or another server says
_DETAILS = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.RetryInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RequestInfo,
)
Detail = TypeVar("Detail", bound=Message)


class Patience:
    """Limits how long a client tries again, counted from the first of several failures in a row.

    With `timeout_seconds` it also limits how long a client waits for a job in all.
    """

    def __init__(self, seconds: float, *, timeout_seconds: float | None = None) -> None:
        self._seconds = _number("patience_seconds", seconds)
        self._deadline: float | None = None
        self._timeout = None if timeout_seconds is None else _number("timeout_seconds", timeout_seconds)
        self._end = None if self._timeout is None else monotonic() + self._timeout

    @property
    def seconds_left(self) -> float | None:
        """Until the timeout; None if there is none."""
        return None if self._end is None else max(0.0, self._end - monotonic())

    def renew(self) -> None:
        """A message arrived: count from the next failure."""
        self._deadline = None

    def delay_after(self, error: Busy | Unavailable) -> float:
        """Seconds to wait before the next try; raises the error if the time is up."""
        delay = max(error.retry_seconds, _SHORTEST_DELAY_SECONDS)
        now = monotonic()
        if self._deadline is None:
            self._deadline = now + self._seconds
        left = self._deadline - now
        if left <= 0:
            raise error
        return min(delay, left, inf if self.seconds_left is None else self.seconds_left)

    @contextmanager
    def limiting(self) -> Iterator[None]:
        """Say it in a sentence about the job if a stream ends because of the timeout."""
        try:
            yield
        except DeadlinePassed as error:
            if self._timeout is None:
                raise
            raise DeadlinePassed(f"The job had not ended after {self._timeout:g} s.") from error


def _number(field: str, seconds: float) -> float:
    if not hasattr(seconds, "__float__") or isnan(seconds):
        raise InvalidRequest(f"{field} is {seconds!r}; it must be a number of seconds.", field=field)
    return seconds


def from_rpc(error: Any, address: str) -> SmaltiError:
    """The SmaltiError that the server raised, or the best description of any other failure.

    `error` is a grpc.RpcError with code() and details(), as calls of grpc and grpc.aio raise it. What only the server's
    operator can explain gets a note with the request id, which a traceback shows.
    """
    details = list(_details(error))
    failure = _failure(error, address, details)
    if (request := _first(details, error_details_pb2.RequestInfo)) is not None:
        failure.request_id = request.request_id
        if isinstance(failure, GraphFailed | InternalError):
            failure.add_note(f"The server's log has it as request {request.request_id}.")
    return failure


def _failure(error: Any, address: str, details: list[Any]) -> SmaltiError:
    info = _first(details, error_details_pb2.ErrorInfo)
    if info is not None and info.domain == DOMAIN and info.reason in REASONS:
        return _build(REASONS[info.reason], error.details(), details)
    if info is not None and info.domain == DOMAIN and error.code() is grpc.StatusCode.UNAVAILABLE:
        return _build(Unavailable, error.details(), details)  # a newer server may have more reasons
    return _without_reason(error, address, details)


def _tree(kind: type[SmaltiError]) -> Iterator[type[SmaltiError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


REASONS = {reason_of(kind): kind for kind in _tree(SmaltiError)}


def _build(kind: type[SmaltiError], message: str, details: list[Any]) -> SmaltiError:
    if issubclass(kind, (Busy, Unavailable)):
        return kind(message, retry_seconds=_retry_seconds(details))
    if issubclass(kind, InvalidRequest):
        return kind(message, field=_field(details))
    return kind(message)


def cause_of(said: str) -> str:
    """gRPC's words about a failed connection in plain English, without a full stop."""
    for pattern, cause in _CAUSES:
        if pattern.search(said):
            return cause
    return _one_line(said)


_CAUSES = [
    (re.compile(pattern), cause)
    for pattern, cause in (
        (
            "[Dd]omain name not found|Misformatted domain|Name or service|no data",
            "there is no host of this name",
        ),
        ("^(errors resolving|DNS resolution)", "its name cannot be looked up now"),
        ("certificate has expired", "its certificate has expired"),
        (
            "CERTIFICATE_VERIFY_FAILED",
            "its certificate is not signed by an authority that is trusted here (ca)",
        ),
        (
            "[Hh]ostname [Vv]erification|not in peer certificate",
            "its certificate is for other names of hosts",
        ),
        ("WRONG_VERSION_NUMBER", "it does not use TLS: leave out ca"),
        (
            "ALERT_(BAD_)?CERTIFICATE|CERTIFICATE_REQUIRED",
            "it wants another certificate of the client (cert and key)",
        ),
        ("HTTP proxy", "the proxy that grpc_proxy names cannot reach it"),
        ("HTTP status|http1|parsing HTTP/2|Expected SETTINGS", "what listens there does not speak gRPC"),
        ("before receiving SETTINGS", "it accepts connections but does not answer"),
        ("refused", "the connection was refused, so nothing listens there"),
        ("timed out", "the attempt to connect timed out"),
        ("unreachable|No route", "there is no network route to it"),
        (
            "failed to connect.*([Cc]losed|reset|EOF)",
            "it closes the connection at once; perhaps it expects TLS, or a certificate of the client (cert and key)",
        ),
        (
            "too_many_pings|[Tt]oo many pings|ENHANCE_YOUR_CALM",
            "the client sent too many pings: increase keepalive_seconds",
        ),
        ("ping timeout|watchdog", "it stopped answering"),
        ("http2 header with status", "a proxy in between cannot reach it"),
        ("RST_STREAM|Stream removed", "the server or a proxy in between ended the call"),
        ("Cancelling all calls", "it is stopping"),
        ("[Cc]losed|reset|Broken pipe|EOF|GOAWAY|goaway", "it closed the connection"),
    )
]
_NEVER_CONNECTED = re.compile("^(failed to connect|errors resolving|DNS resolution)")
_CUT = re.compile("^(Received RST_STREAM|Stream removed)")
_TOO_LARGE = re.compile(
    r"(?P<reader>CLIENT|SERVER)?.*message larger than max \((?P<size>\d+) vs\. (?P<limit>\d+)\)"
)


def _without_reason(error: Any, address: str, details: list[Any]) -> SmaltiError:
    """The error of a call that gRPC itself failed, or that something other than smalti answered."""
    said = _one_line(error.details() or "no reason given")
    match error.code():
        case grpc.StatusCode.INTERNAL | grpc.StatusCode.UNKNOWN if _CUT.search(said):
            return _away(said, address, _retry_seconds(details, default=0.5))
        case grpc.StatusCode.UNAVAILABLE:
            return _away(error.details() or "", address, _retry_seconds(details, default=0.5))
        case grpc.StatusCode.CANCELLED:  # by the server: a client that cancels does not wait
            return Unavailable(f"The server at {address} stopped before it answered.", retry_seconds=0.5)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlinePassed(f"The server at {address} did not answer in time.")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _exhausted(said, address, details)
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidRequest(said, field=_field(details))
        case grpc.StatusCode.UNIMPLEMENTED:
            return SmaltiError(f"The server at {address} does not offer this: {said}.")
        case code:
            return SmaltiError(f"The server at {address} answered {code.name}: {said}")


def _away(said: str, address: str, retry_seconds: float) -> Unavailable:
    if _NEVER_CONNECTED.search(said) or not said:
        what = f"No smalti server answers at {address}"
    else:
        what = f"The connection to the server at {address} was lost"
    return Unavailable(f"{what}: {cause_of(said) or 'no reason given'}.", retry_seconds=retry_seconds)


def _exhausted(said: str, address: str, details: list[Any]) -> SmaltiError:
    """Busy only if the server says when to try again; without that, trying again would never end."""
    if (sizes := _TOO_LARGE.search(said)) is not None:
        return _too_large(sizes, address)
    if _first(details, error_details_pb2.RetryInfo) is None:
        return SmaltiError(f"The server at {address} refuses this: {said}.")
    return Busy(f"The server at {address} is busy: {said}.", retry_seconds=_retry_seconds(details))


def _too_large(sizes: re.Match[str], address: str) -> InvalidRequest:
    size, limit = f"{int(sizes['size']):,}", f"{int(sizes['limit']):,}"
    if sizes["reader"] == "CLIENT":
        return InvalidRequest(
            f"The answer of the server at {address} has {size} bytes and this client takes {limit}: "
            "ask for fewer images at once, if there are several, or make the client with a larger max_answer_bytes."
        )
    return InvalidRequest(
        f"The request has {size} bytes and the server at {address} takes {limit}: "
        "send fewer or smaller images at once, or raise the server's SMALTI_MAX_MESSAGE_BYTES."
    )


def _one_line(said: str) -> str:
    """Text of others, made to fit into a sentence."""
    return " ".join(said.split())[:_LONGEST_QUOTE].rstrip(".")


def _details(error: Any) -> Iterator[Any]:
    status = rpc_status.from_call(error)
    for packed in status.details if status is not None else ():
        for kind in _DETAILS:
            if packed.Is(kind.DESCRIPTOR):
                detail = kind()
                packed.Unpack(detail)
                yield detail


def _first(details: list[Any], kind: type[Detail]) -> Detail | None:
    return next((detail for detail in details if isinstance(detail, kind)), None)


def _retry_seconds(details: list[Any], *, default: float = 1.0) -> float:
    retry = _first(details, error_details_pb2.RetryInfo)
    return default if retry is None else retry.retry_delay.ToMilliseconds() / 1000


def _field(details: list[Any]) -> str:
    bad = _first(details, error_details_pb2.BadRequest)
    return bad.field_violations[0].field if bad is not None and bad.field_violations else ""
