"""Makes zips as strangers pack them, good and bad."""

import io
import struct
import zipfile
from collections.abc import Callable, Mapping

from PIL import Image

_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def a_picture(colour: str = "#ff0000", size: tuple[int, int] = (4, 4)) -> bytes:
    """A PNG of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def packed(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of files by name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def with_flag(data: bytes, bit: int) -> bytes:
    """The zip with a bit set in the flags of every entry: 0 says that it is encrypted."""
    return _changed(data, local=6, central=8, change=lambda flags: flags | 1 << bit)


def with_method(data: bytes, method: int) -> bytes:
    """The zip whose entries say they are packed by another method."""
    return _changed(data, local=8, central=10, change=lambda _: method)


def _changed(data: bytes, *, local: int, central: int, change: Callable[[int], int]) -> bytes:
    changed = bytearray(data)
    for signature, offset in ((_LOCAL, local), (_CENTRAL, central)):
        start = changed.find(signature)
        while start >= 0:
            (value,) = struct.unpack_from("<H", changed, start + offset)
            struct.pack_into("<H", changed, start + offset, change(value))
            start = changed.find(signature, start + 4)
    return bytes(changed)
