"""Reads one picture as it is meant to be seen, from a file's bytes or a Pillow image."""

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from typing import cast

from PIL import ExifTags, Image, UnidentifiedImageError

from smalti.errors import ImageRefused
from smalti.pictures.report import Traits

FORMATS = ("PNG", "GIF", "BMP", "JPEG", "WEBP", "TIFF", "PPM")  # no other decoder gets foreign bytes
OF_NO_KIND = f"is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
ENDINGS = frozenset(
    {
        ".png",
        ".gif",
        ".bmp",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    }
)
MAX_SIDE = 8192  # pixels, far beyond any model; a larger picture is refused before it is decoded
MAX_BYTES = 64 * 1024 * 1024  # largest file that is read
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = 24  # bytes up to the end of width and height
_CHUNK_FRAME = 12  # bytes of a chunk's length, name and checksum
_BEGINNINGS = (
    PNG_SIGNATURE,
    b"\xff\xd8\xff",
    b"GIF8",
    b"BM",
    b"RIFF",
    b"II*\0",
    b"MM\0*",
)  # first bytes of files that are read
_BROKEN = (  # everything that Pillow raises for broken files
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    SystemError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_UPRIGHT = {  # by EXIF's orientation: what turns the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEEP_GREY = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})
_UNREADABLE_MODES = frozenset({"LAB", "La"})  # Pillow gives wrong colours for LAB and an error for La
_STEPS = {"L;2": 85, "L;4": 17}  # between grey levels of two and four bits when converted to eight
_SIXTEEN_TO_EIGHT = [round(value / 257) for value in range(1 << 16)]
_TOO_LARGE = f"is too large: the largest side may be {MAX_SIDE} pixels"
_silence = Lock()  # warning filters belong to the whole process, so one thread at a time sets them


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, upright and with eight bits a channel, and its traits in the file."""

    rgba: Image.Image
    traits: Traits


def read(data: bytes, *, size: tuple[int, int] | None = None, formats: Sequence[str] = FORMATS) -> Picture:
    """The picture in a file's bytes; raises ImageRefused.

    The bytes decide which format it is, not the file's name. If `size` (width, height) is given, another size is
    refused before any pixel is decoded. Colour profiles are not applied: all values are taken as sRGB.
    """
    refuse_by_header(data, size=size, formats=formats)
    _refuse_cut_png(data)
    with _refusing(data), _silenced(), Image.open(BytesIO(data), formats=tuple(formats)) as picture:
        _refuse_size(picture.size, size, either_way=True)  # it may still be turned
        found = _normal(picture)
    _refuse_size(found.rgba.size, size)
    return found


def refuse_by_header(
    data: bytes, *, size: tuple[int, int] | None = None, formats: Sequence[str] = FORMATS
) -> None:
    """Raise the ImageRefused that `read` would raise, as far as a PNG's first bytes show it; takes microseconds."""
    _refuse_other_bytes(data, formats)
    if data.startswith(PNG_SIGNATURE) and data[12:16] == b"IHDR" and len(data) >= _PNG_HEADER:
        found = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        _refuse_size(found)
        _refuse_size(found, size, either_way=True)  # it may still be turned


def normal(picture: Image.Image) -> Picture:
    """A Pillow image, converted as `read` does; raises ImageRefused."""
    with _refusing(), _silenced():
        _refuse_size(picture.size)
        return _normal(picture)


@contextmanager
def _refusing(data: bytes = b"") -> Iterator[None]:
    """Turn Pillow's errors into ImageRefused. Pillow's messages name addresses and modules, so they are not shown."""
    try:
        yield
    except (Image.DecompressionBombError, MemoryError) as error:
        raise _refusal(_TOO_LARGE) from error
    except _BROKEN as error:
        foreign = isinstance(error, UnidentifiedImageError) and not data.startswith(_BEGINNINGS)
        raise _refusal(OF_NO_KIND if foreign else "is cut off or damaged") from error


@contextmanager
def _silenced() -> Iterator[None]:
    """Silence Pillow's warnings: a picture that it can read is read."""
    with _silence, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _refuse_other_bytes(data: bytes, formats: Sequence[str]) -> None:
    if not data:
        raise _refusal("is empty")
    if len(data) > MAX_BYTES:
        raise _refusal(f"has more than {MAX_BYTES >> 20} MiB")
    if tuple(formats) == ("PNG",) and not data.startswith(PNG_SIGNATURE):
        raise _refusal("is not a PNG")


def _refuse_cut_png(data: bytes) -> None:
    """Refuse a PNG whose chunks do not go on to the last one, IEND: Pillow takes it once it has all pixels."""
    if not data.startswith(PNG_SIGNATURE):
        return
    position = len(PNG_SIGNATURE)
    while position + _CHUNK_FRAME <= len(data):
        if data[position + 4 : position + 8] == b"IEND":
            return
        position += _CHUNK_FRAME + int.from_bytes(data[position : position + 4], "big")
    raise _refusal("is cut off or damaged")


def _refuse_size(
    found: tuple[int, int], expected: tuple[int, int] | None = None, *, either_way: bool = False
) -> None:
    same = sorted(found) == sorted(expected or ()) if either_way else found == expected
    if expected is not None and not same:
        raise _refusal(
            f"is {found[0]}×{found[1]}, the model draws {expected[0]}×{expected[1]}: bring it to that size"
        )
    if max(found) > MAX_SIDE:
        raise _refusal(_TOO_LARGE)


def _normal(picture: Image.Image) -> Picture:
    packing, orientation = _packing(picture), _orientation(picture)
    picture.load()
    turn = _UPRIGHT.get(_orientation(picture))  # read again: Pillow turns a TIFF while loading
    coloured = _in_colours(picture, packing)
    rgba = coloured if turn is None else coloured.transpose(turn)
    traits = Traits(
        size=rgba.size,
        transparent=rgba.getchannel("A").getextrema()[0] != 255,
        turned=orientation in _UPRIGHT,
        animated=_animated(picture),
        deep="16" in packing or picture.mode == "F" or picture.mode in _DEEP_GREY,
    )
    return Picture(rgba, traits)


def _packing(picture: Image.Image) -> str:
    """Pillow's name for how the file packs its pixels, such as RGB;16B; empty if there is none."""
    tiles = getattr(picture, "tile", None) or [("", None, 0, "")]
    packing = tiles[0][3]
    return str(packing[0] if isinstance(packing, tuple) and packing else packing)


def _orientation(picture: Image.Image) -> int:
    """EXIF's orientation; 1, upright, if there is none or the EXIF is damaged."""
    with suppress(*_BROKEN):
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
        return orientation if isinstance(orientation, int) else 1
    return 1


def _animated(picture: Image.Image) -> bool:
    """Whether there is more than one frame or page; a camera's JPEG with a second picture does not count."""
    with suppress(*_BROKEN):
        return picture.format != "MPO" and bool(getattr(picture, "is_animated", False))
    return False


def _in_colours(picture: Image.Image, packing: str) -> Image.Image:
    if picture.mode in _UNREADABLE_MODES:
        raise _refusal(f"has colours of the kind {picture.mode}, which is not read: save it as RGB")
    if picture.mode in _DEEP_GREY:
        return _from_deep_grey(picture)
    if picture.mode == "F":
        return _from_numbers(picture)
    clear = _transparency(picture, packing)
    if clear != picture.info.get("transparency"):
        picture = picture.copy()
        picture.info["transparency"] = clear
    return picture.convert("RGBA")


def _transparency(picture: Image.Image, packing: str) -> object:
    """The transparent colour in eight bits: a PNG names it in its own depth, but Pillow gives pixels in eight bits."""
    clear = picture.info.get("transparency")
    if packing == "RGB;16B" and isinstance(clear, tuple):
        return tuple(level >> 8 for level in clear)
    if packing in _STEPS and isinstance(clear, int) and picture.mode == "L":
        return clear * _STEPS[packing]
    return clear


def _from_deep_grey(picture: Image.Image) -> Image.Image:
    """Convert grey levels of 16 bits, or of 32 bits if they fit into 8 or 16."""
    levels = picture.convert("I")
    least, most = _range(levels)
    if not 0 <= least <= most < 1 << 16:
        raise _refusal(f"has grey levels from {least:g} to {most:g}: save it with 8 or 16 bits")
    eight = picture.mode == "I" and picture.format != "PPM" and most < 256
    grey = levels.point(list(range(1 << 16)) if eight else _SIXTEEN_TO_EIGHT, "L")
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        opaque = [255] * (1 << 16)
        opaque[clear] = 0
        grey = Image.merge("LA", (grey, levels.point(opaque, "L")))
    return grey.convert("RGBA")


def _from_numbers(picture: Image.Image) -> Image.Image:
    """Convert floating point levels: 0 … 1 or 0 … 255."""
    least, most = _range(picture)
    if not 0 <= least <= most <= 255:
        raise _refusal(f"has grey levels from {least:g} to {most:g}: save it with 8 or 16 bits")
    scale = 255 if most <= 1 else 1
    return picture.point(lambda level: level * scale + 0.5).convert("L").convert("RGBA")


def _range(picture: Image.Image) -> tuple[float, float]:
    """The smallest and the largest value of a picture with one channel."""
    return cast(tuple[float, float], picture.getextrema())


def _refusal(reason: str) -> ImageRefused:
    return ImageRefused(f"The image {reason}.", field="image")
