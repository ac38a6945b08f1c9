"""Reads the four kinds of image data: pictures, the lecture's text, binary .npz, scikit-learn's digits."""

import hashlib
import re
import zipfile
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
from smalti.pictures.report import EMPTY, Report, Skipped, report_of
from training.errors import DataRefused

Pixels = NDArray[np.int64]
OPAQUE = 128  # alpha from which a pixel belongs to the picture, of 255
LECTURE_PIXELS, LECTURE_COLOURS = "pixel_color.txt", "colormap.txt"
LEAST_CONTENT = 0.03  # opaque part of the square below which a picture is taken for empty
LARGE = 1024  # pixels a side that are enough to make any training's image of


@dataclass(frozen=True, slots=True)
class Origin:
    """Which data these are: enough to find out whether two trainings saw the same."""

    name: str  # short, for the model's name
    digest: str  # SHA-256 of the file, or of all files with their names


@dataclass(frozen=True, slots=True)
class Pictures:
    """Colour images of one size, not yet in a palette."""

    origin: Origin
    rgb: NDArray[np.uint8]  # (images, size, size, 3), what is transparent painted with the background
    opaque: NDArray[np.bool_]  # (images, size, size)
    report: Report = EMPTY


@dataclass(frozen=True, slots=True)
class Indexed:
    """Images that came with a palette."""

    origin: Origin
    pixels: Pixels  # (images, height, width)
    palette: NDArray[np.uint8]  # (colours, 3)
    parts: tuple[int, int, int] | None = None  # train, valid, test lengths, where the data say so
    report: Report = EMPTY


def read(path: Path | None, *, size: int, background: str) -> Pictures | Indexed:
    """The images at a path, or the digits where it is None; raises DataRefused."""
    if path is None:
        return digits()
    if path.name == LECTURE_PIXELS or (path / LECTURE_PIXELS).is_file():
        return lecture(path if path.is_dir() else path.parent)
    if path.suffix == ".npz":
        return binary(path)
    if path.is_dir() or path.suffix == ".zip":
        return pictures(path, size=size, background=background)
    if path.exists():
        raise DataRefused(
            f"{path} is none of the known kinds: a folder or .zip of images, {LECTURE_PIXELS}, or an .npz."
        )
    raise DataRefused(f"There is nothing at {path}.")


def digits() -> Indexed:
    """scikit-learn's 1,797 handwritten digits: (8, 8), 17 grey levels, ink dark on light.

    They come in the order in which their writers wrote, so the last are taken for testing, those before to validate.
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
    """The lecture's format: one square image a line as palette indices, beside one `r g b` a line."""
    pixels_file, colours_file = folder / LECTURE_PIXELS, folder / LECTURE_COLOURS
    palette = _numbers(colours_file)
    rows = _numbers(pixels_file)
    size = int(np.sqrt(rows.shape[1]))
    if size * size != rows.shape[1]:
        raise DataRefused(
            f"{pixels_file} has {rows.shape[1]} numbers a line, which is no square image's number of pixels."
        )
    if palette.shape[1] != 3 or palette.min() < 0 or palette.max() > 255 or len(palette) < 2:
        raise DataRefused(f"{colours_file} must have two lines or more of three integers 0 … 255 each.")
    _refuse_foreign_indices(pixels_file, rows, len(palette))
    digest = _listing(
        (file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in (colours_file, pixels_file)
    )
    return Indexed(
        origin=Origin(_short(folder.resolve().name), digest),
        pixels=rows.reshape(-1, size, size),
        palette=palette.astype(np.uint8),
        report=Report(read=len(rows)),
    )


def binary(path: Path) -> Indexed:
    """Binary images from an .npz with arrays train, valid, test: (images, height, ceil(width/8)) uint8 of packed bits.

    The packing does not say the width, so images are taken to be as wide as high. 1 is ink, dark on light.
    """
    parts = [_unpack(path, array, name) for name, array in _arrays(path).items()]
    if len({part.shape[1:] for part in parts}) != 1:
        raise DataRefused(f"The arrays of {path} hold images of different sizes.")
    train, valid, test = (len(part) for part in parts)
    return Indexed(
        origin=Origin(_short(path.stem), hashlib.sha256(path.read_bytes()).hexdigest()),
        pixels=np.concatenate(parts),
        palette=np.array([[255] * 3, [0] * 3], dtype=np.uint8),
        parts=(train, valid, test),
        report=Report(read=train + valid + test),
    )


def pictures(path: Path, *, size: int, background: str, stretched: bool = False) -> Pictures:
    """All images of a folder or zip, each cropped to its content, made square and resized; raises DataRefused.

    With `stretched`, the content is as wide as it is high, so that it fills the square. Pictures with (almost) nothing
    opaque in them are left out: they would count as images that are easy to predict.
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
    """A picture in the training's size."""

    rgb: NDArray[np.uint8]  # (size, size, 3)
    opaque: NDArray[np.bool_]  # (size, size)
    content: tuple[int, int]  # width and height of what was opaque, before it was fitted


def _shows_something(found: Found[_Fitted]) -> bool:
    return bool(found.content.opaque.mean() >= LEAST_CONTENT)


def _report(path: Path, gathered: Gathered[_Fitted], size: int) -> Report:
    used = list(filter(_shows_something, gathered.found))
    contents = [found.content.content for found in used]
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
        reduced=sum(max(content) > size for content in contents),
        padded=sum(min(content) < max(*content, size) for content in contents),
    )


def _fit(picture: Image.Image, size: int, stretched: bool) -> _Fitted:
    """A picture (RGBA) cropped to its content, made square and resized.

    It stands on the bottom edge, in the middle; small ones are not enlarged, because a sprite's pixels are its drawing.
    """
    content = _crop(picture)
    square = _square(_stretch(content) if stretched else content, size)
    values = np.asarray(square, dtype=np.float32) / 255.0
    alpha = values[..., 3]
    # Colours are resized multiplied by alpha: else the colour of what is transparent bleeds in.
    planes = [_resize(values[..., channel] * alpha, size) for channel in range(3)]
    coverage = _resize(alpha, size)
    colour = np.stack(planes, axis=-1) / np.maximum(coverage, 1e-3)[..., None]
    rgb = np.asarray(np.clip(np.rint(colour * 255), 0, 255), dtype=np.uint8)
    return _Fitted(rgb, coverage >= OPAQUE / 255, content.size)


def _resize(plane: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.LANCZOS))


def _crop(picture: Image.Image) -> Image.Image:
    """The part with content, without pixels by the million: a photograph is made smaller by whole factors first."""
    factor = max(picture.size) // LARGE
    picture = picture.convert("RGBa").reduce(factor).convert("RGBA") if factor > 1 else picture
    content = picture.getchannel("A").point([255 if alpha >= OPAQUE else 0 for alpha in range(256)])
    return picture.crop(content.getbbox() or (0, 0, *picture.size))


def _stretch(picture: Image.Image) -> Image.Image:
    side = max(picture.size)
    return picture.resize((side, side), Image.Resampling.NEAREST)  # no colour that was not there


def _square(picture: Image.Image, least: int) -> Image.Image:
    side = max(*picture.size, least)
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, side - picture.height))
    return square


def _numbers(file: Path) -> Pixels:
    """The integers of a text file, the same number on every line: (lines, numbers)."""
    try:
        lines = [line.split() for line in file.read_text(encoding="ascii").splitlines() if line.strip()]
        if not lines:
            raise DataRefused(f"{file} is empty.")
        for number, line in enumerate(lines, start=1):
            if len(line) != len(lines[0]):
                raise DataRefused(
                    f"Line {number} of {file} has {len(line)} numbers and the first line {len(lines[0])}."
                )
        return np.array(lines, dtype=np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise DataRefused(f"{file} cannot be read as lines of integers: {error}.") from error


def _refuse_foreign_indices(file: Path, rows: Pixels, count: int) -> None:
    foreign = np.argwhere((rows < 0) | (rows >= count))
    if len(foreign):
        line, position = foreign[0]
        raise DataRefused(
            f"Line {line + 1} of {file} has the pixel {rows[line, position]}, but the palette ends at {count - 1}."
        )


def _arrays(path: Path) -> dict[str, NDArray[np.uint8]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in ("train", "valid", "test")}
    except KeyError as error:
        raise DataRefused(f"{path} lacks one of the arrays train, valid and test: {error}.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataRefused(f"{path} is no .npz file that can be read: {error}.") from error


def _unpack(path: Path, packed: NDArray[np.uint8], name: str) -> Pixels:
    if packed.dtype != np.uint8 or packed.ndim != 3 or not len(packed):
        raise DataRefused(f"The array {name} of {path} must be (images, height, bytes) of uint8.")
    side = packed.shape[1]
    if packed.shape[2] != -(-side // 8):
        raise DataRefused(
            f"The array {name} of {path} has {packed.shape[2]} bytes a row, which does not fit images of {side}×{side}."
        )
    return np.unpackbits(packed, axis=2)[:, :, :side].astype(np.int64)


def _digest_of(path: Path, found: Sequence[Found[_Fitted]]) -> str:
    if path.is_dir():
        return _listing((each.name, each.digest) for each in found)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listing(entries: Iterable[tuple[str, str]]) -> str:
    """The digest of several files: names, and what their contents' digests are."""
    listing = "\n".join(f"{digest}  {name}" for name, digest in entries)
    return hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()


def _short(name: str) -> str:
    """A file's name as the first part of a model's: lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "images"
