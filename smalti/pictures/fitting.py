"""Brings a picture to a model's size."""

from enum import StrEnum

from PIL import Image

from smalti.errors import ImageRefused

Size = tuple[int, int]  # width, height


class Fit(StrEnum):
    """What to do with a picture that does not have the model's size."""

    RESIZE = "resize"  # keep all of it and its proportions; the rest of the area is transparent
    CROP = "crop"  # fill the area and keep proportions; cut off what sticks out on both sides
    PAD = "pad"  # keep its pixels unchanged, in the middle; the rest of the area is transparent


def fit(picture: Image.Image, size: Size, how: Fit) -> Image.Image:
    """The picture (RGBA) in this size; raises ImageRefused for PAD if it is larger.

    It shrinks by averaging areas and grows by repeating pixels, so pixel art stays pixel art.
    """
    if picture.size == size:
        return picture
    if how is Fit.CROP:
        return _scaled(picture, size, _middle(picture.size, size))
    if how is Fit.RESIZE:
        return _framed(_scaled(picture, _inside(picture.size, size)), size)
    if picture.width > size[0] or picture.height > size[1]:
        raise ImageRefused(
            f"The image is {_spelt(picture.size)}, and padding cannot reduce it to {_spelt(size)}.",
            field="image",
        )
    return _framed(picture, size)


def _spelt(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _inside(found: Size, wanted: Size) -> Size:
    """The largest size that fits and keeps the picture's proportions."""
    scale = min(wanted[0] / found[0], wanted[1] / found[1])
    return max(1, round(found[0] * scale)), max(1, round(found[1] * scale))


def _middle(found: Size, wanted: Size) -> tuple[float, float, float, float]:
    """The largest part in the middle of the picture with the wanted proportions."""
    scale = max(wanted[0] / found[0], wanted[1] / found[1])
    width, height = wanted[0] / scale, wanted[1] / scale
    left, top = (found[0] - width) / 2, (found[1] - height) / 2
    return left, top, left + width, top + height


def _scaled(
    picture: Image.Image, size: Size, part: tuple[float, float, float, float] | None = None
) -> Image.Image:
    part = part or (0, 0, *picture.size)
    if size[0] >= part[2] - part[0]:
        return picture.resize(size, Image.Resampling.NEAREST, part)
    # Premultiplied by alpha, or the colour of transparent pixels would bleed in.
    return picture.convert("RGBa").resize(size, Image.Resampling.BOX, part).convert("RGBA")


def _framed(picture: Image.Image, size: Size) -> Image.Image:
    frame = Image.new("RGBA", size)
    frame.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return frame
