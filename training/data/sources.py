"""Reads the four kinds of image data: pictures, the lecture's text, binary .npz, and scikit-learn's digits."""

import hashlib
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smalti import palette as colours
from smalti.errors import ImageRefused
from smalti.pictures import finding
from smalti.pictures.finding import Found, Gathered
from smalti.pictures.reader import ENDINGS
from smalti.pictures.report import EMPTY, Report, Skipped, report_of
from training.data import arrays, tables
from training.data.tables import Table
from training.errors import DataRefused
from training.images import Pixels

OPAQUE = 128  # the lowest alpha, of 255, of a pixel that belongs to the picture
LECTURE_PIXELS, LECTURE_COLOURS = "pixel_color.txt", "colormap.txt"
LEAST_CONTENT = 0.03  # a picture with a smaller opaque part of its square counts as empty
PARTS = ("train", "valid", "test")  # the arrays of an .npz
LARGE = 1024  # pixels per side; larger pictures are reduced first


@dataclass(frozen=True, slots=True)
class Origin:
    """Identifies data, so that two trainings can be found to use the same."""

    name: str  # short, for the model's name
    digest: str  # SHA-256 of the file, or of all files with their names


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures of one size, not yet with a palette."""

    origin: Origin
    rgb: NDArray[np.uint8]  # (images, size, size, 3), transparent pixels in the background's colour
    opaque: NDArray[np.bool_]  # (images, size, size)
    report: Report = EMPTY


@dataclass(frozen=True, slots=True)
class Indexed:
    """Images that came with their palette."""

    origin: Origin
    pixels: Pixels  # (images, height, width)
    palette: NDArray[np.uint8]  # (colours, 3)
    parts: tuple[int, int, int] | None = None  # how many images for train, valid and test, if the data say so
    report: Report = EMPTY


def read(path: Path | None, *, size: int, background: str) -> Pictures | Indexed:
    """The images at a path, or the digits if it is None; raises DataRefused."""
    if path is None:
        return digits()
    if folder := _lecture_folder(path):
        return lecture(folder)
    if path.suffix.lower() == ".npz" and os.path.isfile(path):
        return binary(path)
    if os.path.isdir(path) or (path.suffix.lower() == ".zip" and os.path.exists(path)):
        return pictures(path, size=size, background=background)
    if os.path.exists(path):
        raise DataRefused(
            f"{path} is not one of the known kinds: a folder or .zip of pictures ({', '.join(sorted(ENDINGS))}), "
            f"{LECTURE_PIXELS} with {LECTURE_COLOURS}, or an .npz of train, valid and test."
        )
    raise DataRefused(f"There is nothing at {path}.")


def digits() -> Indexed:
    """scikit-learn's 1,797 handwritten digits: (8, 8), 17 grey levels, ink dark on light.

    They are in the order of their writers, so the last tenth is for testing, and the tenth before for validation.
    """
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    pixels = load_digits().images.astype(np.int64)
    grey = np.rint(np.linspace(255, 0, 17)).astype(np.uint8)
    tenth = len(pixels) // 10
    return Indexed(
        origin=Origin("digits", hashlib.sha256(pixels.astype(np.uint8).tobytes()).hexdigest()),
        pixels=pixels,
        palette=np.stack([grey] * 3, axis=1),
        parts=(len(pixels) - 2 * tenth, tenth, tenth),
        report=Report(read=len(pixels)),
    )


def lecture(folder: Path) -> Indexed:
    """The lecture's format: a file with one square image of palette indices per line, and one with `r g b` per line."""
    pixels_file, colours_file = (
        _named(folder, name) or folder / name for name in (LECTURE_PIXELS, LECTURE_COLOURS)
    )
    palette = tables.read(colours_file).values
    table = tables.read(pixels_file)
    size = math.isqrt(table.values.shape[1])
    if size * size != table.values.shape[1]:
        raise DataRefused(
            f"{pixels_file} has {table.values.shape[1]} numbers per line, which do not make a square image."
        )
    if palette.shape[1] != 3 or palette.min() < 0 or palette.max() > 255 or len(palette) < 2:
        raise DataRefused(f"{colours_file} must have at least two lines of three integers 0 … 255 each.")
    _refuse_foreign_indices(pixels_file, table, len(palette))
    digest = _listing((file.name, _file_digest(file)) for file in (colours_file, pixels_file))
    return Indexed(
        origin=Origin(_short(folder.resolve().name), digest),
        pixels=table.values.reshape(-1, size, size),
        palette=palette.astype(np.uint8),
        report=Report(read=len(table.values)),
    )


def binary(path: Path) -> Indexed:
    """Binary images from an .npz with arrays train, valid, test: (images, height, ceil(width/8)) uint8 of packed bits.

    Packed bits do not give the width, so images must be square. 1 is ink, dark on light.
    """
    parts = [_unpack(path, array, name) for name, array in arrays.read(path, PARTS).items()]
    if len({part.shape[1:] for part in parts}) != 1:
        raise DataRefused(f"The arrays of {path} hold images of different sizes.")
    train, valid, test = (len(part) for part in parts)
    return Indexed(
        origin=Origin(_short(path.stem), _file_digest(path)),
        pixels=np.concatenate(parts),
        palette=np.array([[255] * 3, [0] * 3], dtype=np.uint8),
        parts=(train, valid, test),
        report=Report(read=train + valid + test),
    )


def pictures(path: Path, *, size: int, background: str, stretched: bool = False) -> Pictures:
    """All pictures of a folder or zip, each cropped to its content, made square and resized; raises DataRefused.

    With `stretched`, the content is stretched to fill the square. Pictures that are (almost) transparent are skipped:
    they would count as images that are easy to predict.
    """
    fill = colours.parse([background])[0]
    try:
        gathered = finding.gather([path], lambda picture: _fit(picture.rgba, size, stretched))
    except ImageRefused as error:
        raise DataRefused(str(error)) from error
    full = list(filter(_shows_something, gathered.found))
    if not full:
        raise DataRefused(f"All {len(gathered.found)} pictures of {path} are transparent, or almost.")
    opaque = np.stack([found.content.opaque for found in full])
    rgb = np.stack([found.content.rgb for found in full])
    return Pictures(
        origin=Origin(
            _short(path.stem if path.is_file() else path.resolve().name), _digest_of(path, gathered.found)
        ),
        rgb=np.where(opaque[..., None], rgb, fill),
        opaque=opaque,
        report=_report(path, gathered, size),
    )


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A picture, fitted to the training's size."""

    rgb: NDArray[np.uint8]  # (size, size, 3)
    opaque: NDArray[np.bool_]  # (size, size)
    whole: tuple[int, int]  # width and height of the original picture
    content: tuple[int, int]  # width and height of its opaque part

    @property
    def is_framed(self) -> bool:
        """Whether the square around the content is larger than the picture was."""
        return min(self.whole) < max(*self.content, len(self.rgb))


def _shows_something(found: Found[_Fitted]) -> bool:
    return bool(found.content.opaque.mean() >= LEAST_CONTENT)


def _report(path: Path, gathered: Gathered[_Fitted], size: int) -> Report:
    used = list(filter(_shows_something, gathered.found))
    empty = [
        Skipped(name=found.label, reason="is transparent, or almost")
        for found in gathered.found
        if not _shows_something(found)
    ]
    skipped = [
        replace(each, name=each.name.removeprefix(f"{path}/")) for each in (*gathered.report.skipped, *empty)
    ]
    return replace(
        report_of([found.traits for found in used], skipped, others=gathered.report.others),
        cropped=sum(found.content.content != found.content.whole for found in used),
        reduced=sum(max(found.content.content) > size for found in used),
        padded=sum(found.content.is_framed for found in used),
    )


def _fit(picture: Image.Image, size: int, stretched: bool) -> _Fitted:
    """Crop a picture (RGBA) to its content, make it square, and resize it.

    The content is at the bottom in the middle. A small picture is not enlarged: in a sprite, every pixel matters.
    """
    whole = _fewer_pixels(picture)
    content = _crop(whole)
    square = _square(_stretch(content) if stretched else content, size)
    if square.width == size:  # no resizing; the time before a training's first step is mostly spent here
        exact = np.asarray(square)
        return _Fitted(exact[..., :3].copy(), exact[..., 3] >= OPAQUE, whole.size, content.size)
    values = np.asarray(square, dtype=np.float32) / 255.0
    alpha = values[..., 3]
    # Colours are multiplied by alpha before resizing: otherwise transparent pixels' colours mix in.
    planes = [_resize(values[..., channel] * alpha, size) for channel in range(3)]
    coverage = _resize(alpha, size)
    colour = np.stack(planes, axis=-1) / np.maximum(coverage, 1e-3)[..., None]
    rgb = np.asarray(np.clip(np.rint(colour * 255), 0, 255), dtype=np.uint8)
    return _Fitted(rgb, coverage >= OPAQUE / 255, whole.size, content.size)


def _resize(plane: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.LANCZOS))


def _fewer_pixels(picture: Image.Image) -> Image.Image:
    """Reduce a very large picture by a whole factor, so that the following steps need little memory."""
    factor = max(picture.size) // LARGE
    return picture.convert("RGBa").reduce(factor).convert("RGBA") if factor > 1 else picture


def _crop(picture: Image.Image) -> Image.Image:
    content = picture.getchannel("A").point([255 if alpha >= OPAQUE else 0 for alpha in range(256)])
    return picture.crop(content.getbbox() or (0, 0, *picture.size))


def _stretch(picture: Image.Image) -> Image.Image:
    side = max(picture.size)
    return picture.resize((side, side), Image.Resampling.NEAREST)  # adds no new colours


def _square(picture: Image.Image, least: int) -> Image.Image:
    side = max(*picture.size, least)
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, side - picture.height))
    return square


def _lecture_folder(path: Path) -> Path | None:
    """The folder of the lecture's files, if the path is theirs; file names may be in capitals."""
    if os.path.isdir(path):
        return path if _named(path, LECTURE_PIXELS) else None
    return (
        path.parent
        if path.name.lower() in (LECTURE_PIXELS, LECTURE_COLOURS) and os.path.exists(path)
        else None
    )


def _named(folder: Path, name: str) -> Path | None:
    try:
        found = [file for file in folder.iterdir() if file.name.lower() == name]
    except OSError as error:
        raise DataRefused(f"{folder} cannot be read: {error.strerror}.") from error
    return min((file for file in found if file.is_file()), default=None, key=lambda file: file.name != name)


def _refuse_foreign_indices(file: Path, table: Table, count: int) -> None:
    foreign = np.argwhere((table.values < 0) | (table.values >= count))
    if len(foreign):
        line, position = foreign[0]
        pixel = table.values[line, position]
        raise DataRefused(
            f"Line {table.lines[line]} of {file} has the pixel {pixel}, but the palette ends at {count - 1}."
        )


def _unpack(path: Path, packed: NDArray[np.uint8], name: str) -> Pixels:
    if packed.dtype != np.uint8 or packed.ndim != 3 or not len(packed):
        raise DataRefused(f"The array {name} of {path} must be (images, height, bytes) of uint8.")
    side = packed.shape[1]
    if packed.shape[2] != -(-side // 8):
        raise DataRefused(
            f"The array {name} of {path} has {packed.shape[2]} bytes per row, which does not fit images of "
            f"{side}×{side}."
        )
    return np.unpackbits(packed, axis=2)[:, :, :side].astype(np.int64)


def _digest_of(path: Path, found: Sequence[Found[_Fitted]]) -> str:
    return _listing((each.name, each.digest) for each in found) if path.is_dir() else _file_digest(path)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listing(entries: Iterable[tuple[str, str]]) -> str:
    """The digest of several files, from their names and the digests of their contents."""
    listing = "\n".join(f"{digest}  {name}" for name, digest in entries)
    return hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()


def _short(name: str) -> str:
    """A file's name in a form for a model's name: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "images"
