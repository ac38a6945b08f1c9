"""The table from smalti's errors to gRPC statuses with google.rpc details; smalti/client/failures.py is the reverse."""

import secrets

import structlog
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import StatusCode

from server.http2.statuses import Status
from server.request_ids import request_id
from smalti.errors import (
    DOMAIN,
    Busy,
    DeadlinePassed,
    GraphFailed,
    GraphNotServed,
    InternalError,
    InvalidRequest,
    JobDamaged,
    JobNotFinished,
    JobNotFound,
    JobOver,
    ModelNotFound,
    NotPermitted,
    ProviderMissing,
    RedisUnfit,
    RegionNotFound,
    RepositoryDamaged,
    RequestConflict,
    SampleFailed,
    SettingsInvalid,
    SmaltiError,
    TokenRefused,
    Unavailable,
    Unsupported,
    WorkerNotFound,
    reason_of,
)

log = structlog.get_logger()
DETAILS_KEY = "grpc-status-details-bin"
STATUS: dict[type[SmaltiError], StatusCode] = {
    InvalidRequest: StatusCode.INVALID_ARGUMENT,
    Unsupported: StatusCode.UNIMPLEMENTED,
    RequestConflict: StatusCode.ALREADY_EXISTS,
    ModelNotFound: StatusCode.NOT_FOUND,
    RegionNotFound: StatusCode.NOT_FOUND,
    JobNotFound: StatusCode.NOT_FOUND,
    WorkerNotFound: StatusCode.NOT_FOUND,
    GraphNotServed: StatusCode.FAILED_PRECONDITION,
    JobDamaged: StatusCode.DATA_LOSS,
    JobNotFinished: StatusCode.FAILED_PRECONDITION,
    JobOver: StatusCode.FAILED_PRECONDITION,
    TokenRefused: StatusCode.UNAUTHENTICATED,
    NotPermitted: StatusCode.PERMISSION_DENIED,
    Busy: StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: StatusCode.UNAVAILABLE,
    DeadlinePassed: StatusCode.DEADLINE_EXCEEDED,
    RepositoryDamaged: StatusCode.FAILED_PRECONDITION,
    ProviderMissing: StatusCode.FAILED_PRECONDITION,
    RedisUnfit: StatusCode.FAILED_PRECONDITION,
    SettingsInvalid: StatusCode.FAILED_PRECONDITION,
    SampleFailed: StatusCode.ABORTED,
    GraphFailed: StatusCode.INTERNAL,
    InternalError: StatusCode.INTERNAL,
    SmaltiError: StatusCode.INTERNAL,
}
# A status travels in headers, and clients accept 8 kB of those. The message is sent three times: once in
# percent-encoding, and twice in the details.
_LONGEST_MESSAGE = 1500  # bytes, with three for each byte that is not plain ASCII


def code_of(error: SmaltiError) -> StatusCode:
    """The status of the error's class, or of its nearest base class that is in the table."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def status_of(error: SmaltiError) -> status_pb2.Status:
    """The status with its details.

    Always an ErrorInfo; RetryInfo and BadRequest for the errors that have them; RequestInfo while an RPC is answered.
    """
    return status_pb2.Status(
        code=code_pb2.Code.Value(code_of(error).name),
        message=message_of(error),
        details=[_pack(detail) for detail in _details(error)],
    )


def message_of(error: SmaltiError) -> str:
    """The error's sentence, cut to the length that fits into a status."""
    text = str(error).encode(errors="replace").decode()  # lone surrogates cannot be sent
    return text if _sent_bytes(text) <= _LONGEST_MESSAGE else f"{_beginning(text)}…"


def _beginning(text: str) -> str:
    """As many characters as fit together with the ellipsis."""
    left = _LONGEST_MESSAGE - _sent_bytes("…")
    for position, character in enumerate(text):
        left -= _sent_bytes(character)
        if left < 0:
            return text[:position]
    return text


def _sent_bytes(text: str) -> int:
    """The length in gRPC's percent-encoding, which leaves spaces and visible ASCII except '%' as they are."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in text.encode())


def ending_of(error: SmaltiError) -> Status:
    """The status with which a call ends that raised this error."""
    details = (DETAILS_KEY, status_of(error).SerializeToString())
    return Status(code=code_of(error), message=message_of(error), trailing=(details,))


def log_bug(cause: Exception, **where: object) -> InternalError:
    """Log an exception that no code expected, with its traceback; returns the error for the client."""
    number = secrets.token_hex(4)
    log.error("bug in smalti, please report it", bug=number, **where, exc_info=cause)
    return InternalError(
        f"This is a bug in smalti: please report it with the traceback that the server's log has for bug {number}."
    )


def _details(error: SmaltiError) -> list[Message]:
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=_reason(error), domain=DOMAIN)]
    if isinstance(error, Busy | Unavailable):
        details.append(error_details_pb2.RetryInfo(retry_delay=_duration(error.retry_seconds)))
    if isinstance(error, InvalidRequest) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=message_of(error)
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if request_id():
        details.append(error_details_pb2.RequestInfo(request_id=request_id()))
    return details


def _reason(error: SmaltiError) -> str:
    """The reason of the nearest class in smalti.errors: clients know no other."""
    return reason_of(next(kind for kind in type(error).__mro__ if kind.__module__ == SmaltiError.__module__))


def _pack(detail: Message) -> Packed:
    packed = Packed()
    packed.Pack(detail)
    return packed


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration
