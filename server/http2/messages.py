"""Cuts the bytes of a call into messages, and gives messages their heads (a flag and a length)."""

import zlib
from collections.abc import Iterator

from grpc import StatusCode

from server.http2.statuses import Ended, Status

HEAD = 5  # bytes: whether the message is compressed, and its length
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}  # of zlib: with the header of gzip, or of zlib itself


def framed(message: bytes) -> bytes:
    """A message as it is sent, never compressed."""
    return b"\x00%b%b" % (len(message).to_bytes(4, "big"), message)


class MessageReader:
    """Collects one call's bytes into messages of at most `most_bytes`, compressed or not."""

    def __init__(self, encoding: bytes, most_bytes: int) -> None:
        self._encoding = encoding
        self._most = most_bytes
        self._pieces: list[bytes] = []
        self._held = 0  # bytes in the pieces
        self._wanted = HEAD  # bytes that the next step needs

    @property
    def missing(self) -> int:
        """How many bytes the message that has begun still lacks, as far as is known; 0 before it begins."""
        return self._wanted - self._held if self._held else 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now; raises Ended for one that cannot be accepted."""
        self._pieces.append(data)
        self._held += len(data)
        while self._held >= self._wanted:
            whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            length = self._length(whole)
            if self._held < HEAD + length:
                self._pieces, self._wanted = [whole], HEAD + length
                return
            rest = whole[HEAD + length :]
            self._pieces, self._held, self._wanted = [rest] if rest else [], len(rest), HEAD
            yield self._opened(whole[0], whole[HEAD : HEAD + length])

    def _length(self, whole: bytes) -> int:
        length = int.from_bytes(whole[1:HEAD], "big")
        if length > self._most:
            raise _too_large(length, self._most)
        return length

    def _opened(self, flag: int, body: bytes) -> bytes:
        if flag == 0:
            return body
        if flag != 1 or self._encoding not in _WINDOW_BITS:
            raise _unreadable("its first byte names no encoding that the call has")
        return self._decompressed(body)

    def _decompressed(self, body: bytes) -> bytes:
        opener = zlib.decompressobj(_WINDOW_BITS[self._encoding])
        try:
            message = opener.decompress(body, self._most + 1)
        except zlib.error as error:
            raise _unreadable(f"it is not compressed as {self._encoding.decode()}") from error
        if len(message) > self._most:
            raise _too_large(len(message), self._most)
        if not opener.eof:
            raise _unreadable("its compressed bytes end too early")
        return message


def _too_large(size: int, most: int) -> Ended:
    # In the words of gRPC's own servers, which clients look for.
    message = f"SERVER: Received message larger than max ({size} vs. {most})"
    return Ended(Status(code=StatusCode.RESOURCE_EXHAUSTED, message=message))


def _unreadable(reason: str) -> Ended:
    return Ended(Status(code=StatusCode.INTERNAL, message=f"A message of the call cannot be read: {reason}."))
