"""Reads the headers of a request, and writes those of a response (gRPC's PROTOCOL-HTTP2.md)."""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from grpc import StatusCode

from server.http2.statuses import Ended, Metadata, Status

Headers = Iterable[tuple[bytes, bytes]]
MOST_BYTES = 16_384  # of all headers of a request
_HEADER_BYTES = 32  # that HTTP/2 counts for each header, beside its name and value
_BINARY = "-bin"
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_CONTENT_TYPE = re.compile(rb"application/grpc(\+[^;]*)?(;.*)?", re.IGNORECASE)
# What the protocol itself uses; handlers see the others.
_OWN = frozenset({b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"})
_VISIBLE = frozenset(range(0x21, 0x7F)) - {0x25}
_PLAIN = _VISIBLE | {0x20}  # bytes of a message that are sent as they are
ENCODINGS = (b"identity", b"deflate", b"gzip")
ACCEPTED = (b"grpc-accept-encoding", b",".join(ENCODINGS))
RESPONSE: Headers = ((b":status", b"200"), (b"content-type", b"application/grpc"), ACCEPTED)


class Request(NamedTuple):
    """What the headers of a request say."""

    path: str
    metadata: Metadata
    timeout_seconds: float | None
    encoding: bytes


class NotGrpc(Exception):
    """The request is not one of gRPC; `http_status` says so to another kind of client."""

    def __init__(self, http_status: bytes) -> None:
        super().__init__(http_status)
        self.http_status = http_status


def read(headers: Headers) -> Request:
    """The request; raises NotGrpc, or Ended for headers that cannot be read or are too many."""
    method = path = content_type = b""
    encoding, timeout, size = b"identity", None, 0
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        size += len(name) + len(value) + _HEADER_BYTES
        if name == b":path":
            path = value
        elif name == b":method":
            method = value
        elif name == b"content-type":
            content_type = value
        elif name == b"grpc-timeout":
            timeout = _seconds(value)
        elif name == b"grpc-encoding":
            encoding = value
        elif name not in _OWN and not name.startswith(b":"):
            metadata.extend(_entries(name.decode("latin-1"), value))
    if method != b"POST":
        raise NotGrpc(b"405")
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise NotGrpc(b"415")
    if size > MOST_BYTES:
        raise _too_large(size)
    if encoding not in ENCODINGS:
        raise _unknown(encoding)
    return Request(path.decode("latin-1"), tuple(metadata), timeout, encoding)


def trailers(status: Status) -> Iterator[tuple[bytes, bytes]]:
    """The headers that end a response."""
    yield b"grpc-status", b"%d" % status.code.value[0]
    if status.message:
        yield b"grpc-message", _percent_encoded(status.message)
    yield from written(status.trailing)


def written(metadata: Metadata) -> Iterator[tuple[bytes, bytes]]:
    """Metadata as headers."""
    for name, value in metadata:
        data = value if isinstance(value, bytes) else value.encode("latin-1", errors="replace")
        yield name.encode(), b64encode(data).rstrip(b"=") if name.endswith(_BINARY) else data


def _entries(key: str, value: bytes) -> Iterator[tuple[str, str | bytes]]:
    """One header's metadata: several values of a binary key may be joined by commas."""
    if not key.endswith(_BINARY):
        yield key, value.decode("latin-1")
        return
    for part in value.split(b","):
        try:
            yield key, b64decode(part + b"=" * (-len(part) % 4), validate=True)
        except NotBase64 as error:
            raise _malformed(f"The metadata '{key}' is not written in base64.") from error


def _seconds(value: bytes) -> float:
    if not (found := _TIMEOUT.fullmatch(value)):
        raise _malformed("The header 'grpc-timeout' is not a number of at most eight digits and a unit.")
    return int(found[1]) * _UNITS[found[2]]


def _percent_encoded(message: str) -> bytes:
    data = message.encode(errors="replace")
    if all(byte in _PLAIN for byte in data) and data == data.strip():  # HTTP/2 has no blanks at the ends
        return data
    return b"".join(bytes((byte,)) if byte in _VISIBLE else b"%%%02X" % byte for byte in data)


def _malformed(message: str) -> Ended:
    return Ended(Status(code=StatusCode.INVALID_ARGUMENT, message=message))


def _too_large(size: int) -> Ended:
    message = f"The metadata is too large: {size} bytes with its names, and the server takes {MOST_BYTES}."
    return Ended(Status(code=StatusCode.RESOURCE_EXHAUSTED, message=message))


def _unknown(encoding: bytes) -> Ended:
    shown = encoding.decode("latin-1")
    message = f"The server does not know the encoding {shown!r}: use identity, deflate or gzip."
    return Ended(Status(code=StatusCode.UNIMPLEMENTED, message=message))
