"""Reads zip files from strangers: a fault becomes a message, and nothing unpacks to more than a limit."""

import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, LargeZipFile, ZipFile, ZipInfo

from smalti.printable import escaped

_ENCRYPTED = 1  # a bit of an entry's flags
_BROKEN = (  # what zipfile and its unpacking libraries raise; bz2 raises OSError and ValueError
    OSError,
    BadZipFile,
    LargeZipFile,
    ValueError,
    EOFError,
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)


class ArchiveRefused(Exception):
    """An archive or one of its entries cannot be read; the message follows its name: "is encrypted"."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive."""

    name: str
    archive: ZipFile
    info: ZipInfo

    def read(self, most: int) -> bytes:
        """Its bytes; raises ArchiveRefused, also if there are more than `most`."""
        if self.info.flag_bits & _ENCRYPTED:
            raise ArchiveRefused("is encrypted")
        if self.info.file_size > most:
            raise ArchiveRefused(f"has more than {most >> 20} MiB")
        with (
            _refusing("is damaged, or packed in a way that is not read"),
            self.archive.open(self.info) as file,
        ):
            return file.read(most + 1)


@contextmanager
def opened(path: Path) -> Iterator[list[Entry]]:
    """The files in a zip, sorted by name; raises ArchiveRefused. Of two with one name the later counts."""
    with _refusing("is not a zip file that can be read"):
        archive = ZipFile(path)
    with archive:
        named = (info for info in archive.infolist() if info.filename)  # a damaged entry may have no name
        files = {info.filename: info for info in named if not info.is_dir()}
        _refuse_overlap(archive, path)
        if files and all(info.flag_bits & _ENCRYPTED for info in files.values()):
            raise ArchiveRefused("is encrypted: unpack it with its password and give the folder")
        yield [Entry(name, archive, info) for name, info in sorted(files.items())]


@contextmanager
def _refusing(reason: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        why = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise ArchiveRefused(escaped(f"{reason}{why}")) from error


def _refuse_overlap(archive: ZipFile, path: Path) -> None:
    """Refuse entries that share bytes: a small file could unpack to any size."""
    if sum(info.compress_size for info in archive.infolist()) > path.stat().st_size:
        raise ArchiveRefused("is not a zip file that can be read: its entries overlap")
