"""Pixels ↔ PNG, with Pillow alone, so that clients need no numpy."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

from smalti.errors import ImageRefused

MAX_SIDE = 4096  # of an image that a client sends: far beyond any model, and cheap to refuse
HIDDEN = "#303030"  # stands for what is not drawn yet, or not to be seen
SHEET_SCALE = 4  # sides of a pixel on a sheet, so that small pictures can be looked at
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BROKEN = (  # what Pillow raises for files that are broken in one way or another
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Warning,
    Image.DecompressionBombError,
)


def png(indices: bytes, *, height: int, width: int, palette: Sequence[str]) -> bytes:
    """A PNG of pixels in raster order: one byte each, or two, little-endian, where there are over 256 colours."""
    return encode(picture(indices, height=height, width=width, palette=palette))


def picture(indices: bytes, *, height: int, width: int, palette: Sequence[str]) -> Image.Image:
    """A Pillow image of pixels in raster order, as in `png`."""
    if len(palette) > 256:
        colours = [bytes.fromhex(colour[1:]) for colour in palette]
        values = struct.unpack(f"<{height * width}H", indices)
        return Image.frombytes("RGB", (width, height), b"".join(colours[value] for value in values))
    image = Image.frombytes("P", (width, height), indices)
    image.putpalette(bytes.fromhex("".join(colour[1:] for colour in palette)))
    return image


def encode(image: Image.Image) -> bytes:
    """The image as PNG bytes."""
    stream = BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def decode(data: bytes, *, background: str = "#000000", size: tuple[int, int] | None = None) -> Image.Image:
    """The RGB image in PNG bytes, transparent parts on the background; raises ImageRefused.

    Where a (width, height) is expected, another one is refused before any pixel is decoded.
    """
    _refuse_size(_size_in_header(data), size)
    try:
        image = Image.open(BytesIO(data), formats=["PNG"])
        _refuse_size(image.size, size)  # again, because a broken file may have two headers
        rgba = image.convert("RGBA")
    except _BROKEN as error:
        raise ImageRefused(f"The image is not a readable PNG: {error}.", field="image") from error
    canvas = Image.new("RGBA", rgba.size, background)
    return Image.alpha_composite(canvas, rgba).convert("RGB")


def _size_in_header(data: bytes) -> tuple[int, int]:
    if not data.startswith(_SIGNATURE) or len(data) < 24:
        raise ImageRefused("The image is not a PNG.", field="image")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _refuse_size(found: tuple[int, int], expected: tuple[int, int] | None) -> None:
    if expected is not None and found != expected:
        raise ImageRefused(
            f"The image is {found[0]}×{found[1]}, the model draws {expected[0]}×{expected[1]}.",
            field="image",
        )
    if max(found) > MAX_SIDE:
        raise ImageRefused(
            f"The image is {found[0]}×{found[1]}; the largest side may be {MAX_SIDE}.", field="image"
        )


def sheet(
    images: Sequence[Image.Image], *, columns: int, scale: int = 4, gap: int = 1, background: str = "#ffffff"
) -> Image.Image:
    """Equally large images side by side, row by row, each pixel enlarged to scale × scale."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    canvas = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), background)
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        canvas.paste(image.convert("RGB"), (gap + column * (width + gap), gap + row * (height + gap)))
    return canvas.resize((canvas.width * scale, canvas.height * scale), Image.Resampling.NEAREST)


def labelled(
    sheets: Sequence[tuple[str, Image.Image]], *, background: str = "#ffffff", ink: str = "#000000"
) -> Image.Image:
    """Images below each other, each under its label."""
    line, margin = 16, 4  # pixels: Pillow's built-in font is 11 high
    width = max(image.width for _, image in sheets)
    canvas = Image.new("RGB", (width, sum(line + image.height + margin for _, image in sheets)), background)
    pen, top = ImageDraw.Draw(canvas), 0
    for label, image in sheets:
        pen.text((margin, top + 2), label, fill=ink)
        canvas.paste(image.convert("RGB"), (0, top + line))
        top += line + image.height + margin
    return canvas


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]],
    *,
    scale: int,
    headings: Sequence[str] = (),
    labels: Sequence[str] = (),
    background: str = "#ffffff",
    ink: str = "#000000",
) -> Image.Image:
    """Equally large images in rows of one length; a heading over each column and a label before each row, if given."""
    columns = len(rows[0])
    grid = sheet(
        [image for row in rows for image in row], columns=columns, scale=scale, background=background
    )
    line, margin = 16 if headings else 0, 4  # Pillow's built-in font is 11 high
    pen = ImageDraw.Draw(grid)
    left = max((round(pen.textlength(label)) + 2 * margin for label in labels), default=0)
    canvas = Image.new("RGB", (left + grid.width, line + grid.height), background)
    canvas.paste(grid, (left, line))
    pen = ImageDraw.Draw(canvas)
    for number, heading in enumerate(headings):
        pen.text((left + round((number + 0.5) * grid.width / columns), 2), heading, fill=ink, anchor="ma")
    for number, label in enumerate(labels):
        pen.text(
            (margin, line + round((number + 0.5) * grid.height / len(rows))), label, fill=ink, anchor="lm"
        )
    return canvas


def background_of(recipe: Mapping[str, Any], palette: Sequence[str]) -> str:
    """What transparent parts became in a model's training; models that do not say it get their first colour."""
    data = recipe.get("data")
    background = data.get("background") if isinstance(data, Mapping) else None
    return background if isinstance(background, str) else palette[0]


def mask(data: bytes, *, size: tuple[int, int] | None = None) -> bytes:
    """One byte a pixel of a PNG in raster order: 1 where it is light, 0 where it is dark; raises ImageRefused."""
    return bytes(int(value >= 128) for value in decode(data, size=size).convert("L").tobytes())
