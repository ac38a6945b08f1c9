"""Turns pixels into pictures and PNG with Pillow alone, so that clients need no numpy."""

import re
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from smalti.pixels import bytes_per_pixel, unpack

_COLOUR = re.compile("#[0-9a-fA-F]{6}")
HIDDEN = "#303030"  # the colour of pixels that are not drawn yet or are hidden
SHEET_SCALE = 4  # a pixel on a sheet has 4 × 4, so that small pictures can be seen


def png(indices: bytes, *, height: int, width: int, palette: Sequence[str]) -> bytes:
    """A PNG of packed pixels (see `smalti.pixels`)."""
    return encode(picture(indices, height=height, width=width, palette=palette))


def picture(indices: bytes, *, height: int, width: int, palette: Sequence[str]) -> Image.Image:
    """A Pillow image of packed pixels."""
    if bytes_per_pixel(len(palette)) > 1:  # more than Pillow's palette holds
        colours = [bytes.fromhex(colour[1:]) for colour in palette]
        painted = b"".join(colours[pixel] for pixel in unpack(indices, len(palette)))
        return Image.frombytes("RGB", (width, height), painted)
    image = Image.frombytes("P", (width, height), indices)
    image.putpalette(bytes.fromhex("".join(colour[1:] for colour in palette)))
    return image


def encode(image: Image.Image, about: str = "") -> bytes:
    """The image as PNG bytes; `about` is kept in the file as the text "smalti"."""
    stream, texts = BytesIO(), PngInfo()
    if about:
        texts.add_text("smalti", about)
    image.save(stream, "PNG", pnginfo=texts)
    return stream.getvalue()


def sheet(
    images: Sequence[Image.Image], *, columns: int, scale: int = 4, gap: int = 1, background: str = "#ffffff"
) -> Image.Image:
    """Images of equal size in a grid, each pixel enlarged to scale × scale."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    canvas = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), background)
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        canvas.paste(image.convert("RGB"), (gap + column * (width + gap), gap + row * (height + gap)))
    return canvas.resize((canvas.width * scale, canvas.height * scale), Image.Resampling.NEAREST)


def drawing(images: Sequence[Image.Image], *, columns: int, scale: int) -> Iterator[Image.Image]:
    """Sheets of the images as they appear: the first has no row of them, each further one has one row more."""
    for rows in range(images[0].height + 1):
        yield sheet([_begun(image, rows) for image in images], columns=columns, scale=scale)


def _begun(image: Image.Image, rows: int) -> Image.Image:
    """The image with its first rows; the others are hidden."""
    begun = image.convert("RGB")
    begun.paste(HIDDEN, (0, rows, image.width, image.height))
    return begun


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
    """Images of equal size in a grid, with a heading over each column and a label before each row where given."""
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
    """The colour that replaced transparency when the model was trained; its first colour if the recipe says none."""
    data = recipe.get("data")
    background = data.get("background") if isinstance(data, Mapping) else None
    spelt = isinstance(background, str) and _COLOUR.fullmatch(background)
    return str(background) if spelt else palette[0]


def flat(picture: Image.Image, background: str) -> Image.Image:
    """An RGBA image on a background, as RGB."""
    canvas = Image.new("RGBA", picture.size, background)
    return Image.alpha_composite(canvas, picture).convert("RGB")


def mask(picture: Image.Image) -> bytes:
    """One byte for each pixel of an RGBA image, in raster order: 1 if it is light, 0 if it is dark or transparent."""
    levels = flat(picture, "#000000").convert("L").tobytes()
    return bytes(int(level >= 128) for level in levels)
