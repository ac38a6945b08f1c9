"""Standard output and standard error that never end the command with a traceback, whatever the encoding or disk."""

import codecs
import errno
import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import click

from smalti.cli.exit_codes import READER_GONE

_SPELLED = "smalti-spelled"  # the name of the error handler below
_ASCII = "smalti_ascii"  # click writes UTF-8 to a stream that calls itself ASCII, so ours has another name
_SPELLINGS = {
    "×": "x",
    "–": "-",
    "−": "-",
    "—": "-",
    "…": "...",
    "→": "->",
    "’": "'",
    "“": '"',
    "”": '"',
    "━": "-",
    "╸": "-",
    "╺": "-",
}


class OutputLost(click.ClickException):
    """Standard output cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"Standard output cannot be written: {error.strerror or error}.")


class _Raw(io.RawIOBase):
    """Writes each byte at once, so that no buffered rest can fail when the process ends."""

    def __init__(self, inner: Any) -> None:  # Any: a raw file, or a test's stand-in
        self._inner = inner

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._inner.isatty())

    def fileno(self) -> int:
        return int(self._inner.fileno())

    def write(self, data: Any) -> int:
        left = memoryview(data)
        size = len(left)
        while left:
            written = self._inner.write(left)
            if written is None:  # a full pipe that does not block
                time.sleep(0.01)
            left = left[written or 0 :]
        self._inner.flush()
        return size


class _Output(_Raw):
    """Standard output: an error becomes one sentence; if the reader has gone, the command ends quietly."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise click.exceptions.Exit(READER_GONE) from error
            raise OutputLost(error) from error


class _Notices(_Raw):
    """Standard error: errors are ignored, because the work matters more."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            super().write(data)
        return len(data)


@contextmanager
def sound_streams() -> Iterator[None]:
    """Replace the standard streams by ones that handle errors as described above."""
    given = sys.stdout, sys.stderr
    output, notices = given[0] or _closed(), given[1] or _closed()
    sys.stdout, sys.stderr = _sound(output, _Output), _sound(notices, _Notices)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = given


def on_terminal(stream: Any) -> bool:
    """Whether the stream is a terminal; FORCE_COLOR has no influence on this."""
    return bool(stream is not None and stream.isatty())


def _sound(stream: TextIO, kind: type[_Raw]) -> TextIO:
    """The stream with the error handling of `kind`; a stream of text only, as in a notebook, stays as it is."""
    binary = getattr(stream, "buffer", None)
    if binary is None:
        return stream
    stream.flush()
    raw = kind(getattr(binary, "raw", binary))
    return io.TextIOWrapper(raw, encoding=_encoding(stream), errors=_SPELLED, write_through=True)  # type: ignore[type-var]  # with write_through a raw stream is enough


def _closed() -> TextIO:
    """A stand-in for a closed stream: it cannot be written, and no other file can get its number."""
    return open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8", closefd=False)


def _encoding(stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return _ASCII if codecs.lookup(encoding).name == "ascii" else encoding


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace characters that an encoding lacks by similar ones, or by their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SPELLINGS.get(one) or _numbered(one) for one in lacking), error.end


def _numbered(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII:
        return None
    ascii = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii.encode,
        ascii.decode,
        ascii.streamreader,
        ascii.streamwriter,
        ascii.incrementalencoder,
        ascii.incrementaldecoder,
        name=_ASCII,
    )


codecs.register_error(_SPELLED, _spell)
codecs.register(_find_codec)
