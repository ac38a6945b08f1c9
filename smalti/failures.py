"""What gRPC raises → the tree of smalti's errors; the other direction is server/errors.py."""

import re
from collections.abc import Iterator
from time import monotonic
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from smalti.errors import Busy, DeadlinePassed, InvalidRequest, SmaltiError, Unavailable

DOMAIN = "smalti"
_SHORTEST_DELAY_SECONDS = 0.05  # however eager the server's advice is
Detail = TypeVar("Detail", bound=Message)


class Patience:
    """How long to go on trying while the server is away or busy, counted from the last success."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Something came through: count anew."""
        self._deadline = monotonic() + self._seconds

    def delay_after(self, error: Busy | Unavailable) -> float:
        """Seconds to wait before the next attempt; raises the error when there is no time for one."""
        delay = max(error.retry_seconds, _SHORTEST_DELAY_SECONDS)
        left = self._deadline - monotonic()
        if left <= 0:
            raise error
        return min(delay, left)


def from_rpc(error: Any, address: str) -> SmaltiError:
    """The SmaltiError that the server raised, or what a failed call to `address` means without its word.

    `error` is a grpc.RpcError with code() and details(), as calls of grpc and grpc.aio raise it.
    """
    details = list(_details(error))
    info = _first(details, error_details_pb2.ErrorInfo)
    if info is not None and info.domain == DOMAIN and info.reason in REASONS:
        return _build(REASONS[info.reason], error.details(), details)
    return _without_reason(error, address, details)


def reason_of(kind: type[SmaltiError]) -> str:
    """The UPPER_SNAKE word by which an error's class travels: JobNotFound is JOB_NOT_FOUND."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).upper()


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


def _without_reason(error: Any, address: str, details: list[Any]) -> SmaltiError:
    """gRPC itself failed the call, or a server or proxy that is not smalti's answered."""
    said = error.details() or "no reason given"
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return Unavailable(
                f"No smalti server answers at {address}.", retry_seconds=_retry_seconds(details, default=0.5)
            )
        case grpc.StatusCode.CANCELLED:  # not by this client, which does not wait for an answer then
            return Unavailable(f"The server at {address} stopped before it had answered.", retry_seconds=0.5)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlinePassed(f"The server at {address} did not answer in time.")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Busy(f"The server at {address} is busy: {said}.", retry_seconds=_retry_seconds(details))
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidRequest(said, field=_field(details))
        case grpc.StatusCode.UNIMPLEMENTED:
            return SmaltiError(f"The server at {address} does not offer this: {said}.")
        case code:
            return SmaltiError(f"The server at {address} answered {code.name}: {said}")


def _details(error: Any) -> Iterator[Any]:
    status = rpc_status.from_call(error)
    for packed in status.details if status is not None else ():
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.BadRequest):
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
