"""Turns the images that a user has, in any form, into the PNG that is sent."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image as pillow

from smalti import media
from smalti.client import arrays
from smalti.client.calls.call import UNFIT
from smalti.client.values import Image, ImageSource, ImageSources
from smalti.errors import ImageRefused
from smalti.pictures import finding, reader
from smalti.v1 import types_pb2


def listed(images: object) -> Sequence[Any]:
    """One image, many, or an array of many, as a list; raises ImageRefused for anything else."""
    if isinstance(images, Image | pillow.Image | bytes | bytearray | memoryview | str | os.PathLike):
        return [images]
    if hasattr(images, "__array__") or hasattr(images, "__array_interface__"):
        return arrays.listed(images)
    if isinstance(images, Iterable) and not hasattr(images, "read"):  # an open file would be a list of lines
        return list(images)
    raise ImageRefused(f"{arrays.WANTED_MANY}, not {type(images).__name__}.", field="images")


def image_messages(images: ImageSources) -> list[types_pb2.Image]:
    """A message for each of one or many images; raises ImageRefused."""
    return [image_message(source, arrays.WANTED_MANY) for source in listed(images)]


def image_message(source: ImageSource, wanted: str = arrays.WANTED) -> types_pb2.Image:
    """The message with the image as PNG; raises ImageRefused if it cannot be read."""
    try:
        return types_pb2.Image(png=_png(source, wanted))
    except UNFIT as error:  # an object may describe itself wrongly
        raise ImageRefused(
            f"This {type(source).__name__} is not an image: {error}.", field="image"
        ) from error


def _png(source: ImageSource, wanted: str) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        return _png_of_file(bytes(source))
    if isinstance(source, Image):
        return source.png()
    if isinstance(source, pillow.Image):
        return media.encode(reader.normal(source).rgba)
    if isinstance(source, str | os.PathLike):
        return finding.take_picture(finding.place(source), lambda picture: media.encode(picture.rgba))
    return media.encode(arrays.picture(source, wanted))


def _png_of_file(data: bytes) -> bytes:
    return data if data.startswith(reader.PNG_SIGNATURE) else media.encode(reader.read(data).rgba)
