"""Brings a picture to a model's size."""

from enum import StrEnum

from PIL import Image

from smalti.errors import ImageRefused

Size = tuple[int, int]  # width, height


class Fit(StrEnum):
    """What is done with a picture of another size than the model's."""

    RESIZE = "resize"  # all of it is shown, in its proportions; what is left beside it is transparent
    CROP = "crop"  # it fills the size, in its proportions; what stands out is cut off on both sides
    PAD = "pad"  # its pixels stay as they are, in the middle; what is left beside them is transparent


def fit(picture: Image.Image, size: Size, how: Fit) -> Image.Image:
    """The picture (RGBA) in this size; raises ImageRefused where it is larger and only to be padded.

    Smaller by the mean of areas, larger by repeated pixels, so that a drawing of pixels stays one.
    """
    if picture.size == size:
        return picture
    if how is Fit.CROP:
        return _scaled(picture, size, _middle(picture.size, size))
    if how is Fit.RESIZE:
        return _framed(_scaled(picture, _inside(picture.size, size)), size)
    if picture.width > size[0] or picture.height > size[1]:
        raise ImageRefused(
            f"The image is {_spelt(picture.size)}, and padding makes it no smaller than that, not {_spelt(size)}.",
            field="image",
        )
    return _framed(picture, size)


def _spelt(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _inside(found: Size, wanted: Size) -> Size:
    """The largest size of the picture's proportions that fits."""
    scale = min(wanted[0] / found[0], wanted[1] / found[1])
    return max(1, round(found[0] * scale)), max(1, round(found[1] * scale))


def _middle(found: Size, wanted: Size) -> tuple[float, float, float, float]:
    """The largest part in the middle of a picture that has the wanted proportions."""
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
    # Multiplied by alpha: else the colour of what is transparent bleeds in.
    return picture.convert("RGBa").resize(size, Image.Resampling.BOX, part).convert("RGBA")


def _framed(picture: Image.Image, size: Size) -> Image.Image:
    frame = Image.new("RGBA", size)
    frame.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return frame
