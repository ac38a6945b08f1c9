"""Cuts the bytes of a call into messages, opens them, and gives others their heads (a flag and a length)."""

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from grpc import StatusCode

from server.http2.statuses import Ended, Status

Message = bytes | Sequence[bytes | memoryview]  # in one piece, or in several that follow each other
HEAD = 5  # bytes: whether the message is compressed, and its length
_PIECE_BYTES = 65_536
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}  # of zlib: with the header of gzip, or of zlib itself


class Sealed(NamedTuple):
    """A message as it came. It is opened when somebody reads it: a small one may be compressed, and very large."""

    flag: int
    body: bytes


def framed(message: Message) -> Iterator[bytes | memoryview]:
    """A message as it is sent, never compressed: in one piece if it is small, else in pieces that are not copied."""
    parts = (message,) if isinstance(message, bytes) else message
    length = sum(map(len, parts))
    head = b"\x00" + length.to_bytes(4, "big")
    if length <= _PIECE_BYTES:
        yield b"".join((head, *parts))
        return
    yield head
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _PIECE_BYTES):
            yield view[start : start + _PIECE_BYTES]


class MessageReader:
    """Collects one call's bytes into messages of at most `most_bytes`, compressed or not."""

    def __init__(self, encoding: bytes, most_bytes: int) -> None:
        self._encoding = encoding
        self._most = most_bytes
        self._held = bytearray()
        self._wanted = HEAD  # bytes that the next step needs

    @property
    def missing(self) -> int:
        """How many bytes the message that has begun still lacks, as far as is known; 0 before it begins."""
        return self._wanted - len(self._held) if self._held else 0

    def feed(self, data: bytes) -> Iterator[Sealed]:
        """The messages that are whole now; raises Ended for one that is too large."""
        self._held += data
        start, whole = 0, len(self._held)
        try:
            while whole - start >= self._wanted:
                length = self._length(start)
                end = start + HEAD + length
                if end > whole:
                    self._wanted = HEAD + length
                    return
                message = Sealed(self._held[start], bytes(memoryview(self._held)[start + HEAD : end]))
                start, self._wanted = end, HEAD
                yield message
        finally:
            del self._held[:start]

    def open(self, message: Sealed) -> bytes:
        """What is in a message; raises Ended for one that cannot be accepted."""
        if message.flag == 0:
            return message.body
        if message.flag != 1 or self._encoding not in _WINDOW_BITS:
            raise unreadable("its first byte names no encoding that the call has")
        return self._decompressed(message.body)

    def _length(self, start: int) -> int:
        length = int.from_bytes(self._held[start + 1 : start + HEAD], "big")
        if length > self._most:
            raise _too_large(length, self._most)
        return length

    def _decompressed(self, body: bytes) -> bytes:
        opener = zlib.decompressobj(_WINDOW_BITS[self._encoding])
        try:
            message = opener.decompress(body, self._most + 1)
        except zlib.error as error:
            raise unreadable(f"it is not compressed as {self._encoding.decode()}") from error
        if len(message) > self._most:
            raise _too_large(len(message), self._most)
        if not opener.eof:
            raise unreadable("its compressed bytes end too early")
        return message


def unreadable(reason: str) -> Ended:
    """What ends a call whose message breaks gRPC's protocol."""
    return Ended(Status(code=StatusCode.INTERNAL, message=f"A message of the call cannot be read: {reason}."))


def _too_large(size: int, most: int) -> Ended:
    # In the words of gRPC's own servers, which clients look for.
    message = f"SERVER: Received message larger than max ({size} vs. {most})"
    return Ended(Status(code=StatusCode.RESOURCE_EXHAUSTED, message=message))
