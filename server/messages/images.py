"""Image messages ↔ images of a model: pixels in its palette."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from smalti import media, palette
from smalti.errors import ImageRefused, RepositoryDamaged
from smalti.pictures import reader
from smalti.pictures.report import reason_of
from smalti.pixels import number_type
from smalti.runtime.manifest import Manifest
from smalti.v1 import types_pb2

Pixels = NDArray[np.int64]


class ImageModel(Protocol):
    """What this module needs of a served model."""

    @property
    def manifest(self) -> Manifest:
        """Everything that is known of the model."""
        ...

    @property
    def palette(self) -> NDArray[np.uint8]:
        """The manifest's palette, parsed: (colours, 3)."""
        ...


@dataclass(frozen=True, slots=True)
class GivenImages:
    """The images of a request in a model's palette, and how far their colours had to move."""

    pixels: Pixels  # (images, height, width)
    colour_change: types_pb2.ColourChange


def read(
    model: ImageModel, images: Sequence[types_pb2.Image], *, fields: Sequence[str] = ("images",)
) -> GivenImages:
    """The images of a request; raises ImageRefused. Call it off the event loop: decoding PNGs takes long.

    `fields` are the fields of the request that hold the images: one for each image, or one for all.
    """
    matched = [
        _read_numbered(model, image, field, number, len(images))
        for number, (image, field) in enumerate(zip(images, cycle(fields), strict=False), start=1)
    ]
    return GivenImages(
        pixels=np.stack([image.pixels for image in matched]),
        colour_change=types_pb2.ColourChange(
            moved_pixels=sum(image.moved for image in matched),
            largest_distance=max(image.largest_distance for image in matched),
        ),
    )


def write(model: ImageModel, pixels: NDArray[Any], form: int) -> list[types_pb2.Image]:
    """Messages of the images (images, height, width) that the model drew.

    Raises RepositoryDamaged where a pixel is not in the palette.
    """
    if pixels.min() < 0 or pixels.max() >= len(model.manifest.palette):
        raise RepositoryDamaged(
            f"{model.manifest.name} version {model.manifest.version} drew a colour that its palette does not have: "
            "export it again."
        )
    return [write_indices(model, image.tobytes(), form) for image in pixels.astype(_pixel_type(model))]


def write_indices(model: ImageModel, indices: bytes, form: int) -> types_pb2.Image:
    """The message of one image, given as bytes like those of Pixels.indices."""
    height, width = model.manifest.height, model.manifest.width
    if form == types_pb2.IMAGE_FORMAT_PIXELS:
        return types_pb2.Image(pixels=types_pb2.Pixels(height=height, width=width, indices=indices))
    return types_pb2.Image(png=media.png(indices, height=height, width=width, palette=model.manifest.palette))


def _read_numbered(
    model: ImageModel, image: types_pb2.Image, field: str, number: int, count: int
) -> palette.Matched:
    """As `_read_one`; an error names the field, and for one of several images its number."""
    try:
        return _read_one(model, image)
    except ImageRefused as error:
        said = str(error) if count == 1 else f"Image {number} of {count} {reason_of(error)}."
        raise ImageRefused(said, field=field) from error


def _read_one(model: ImageModel, image: types_pb2.Image) -> palette.Matched:
    match image.WhichOneof("content"):
        case "pixels":
            return palette.Matched(_from_pixels(model, image.pixels), moved=0, largest_distance=0.0)
        case "png":
            return _from_png(model, image.png)
        case _:
            raise ImageRefused("The image is missing: give a PNG or pixels.")


def _from_pixels(model: ImageModel, message: types_pb2.Pixels) -> Pixels:
    manifest, kind = model.manifest, _pixel_type(model)
    if (message.height, message.width) != (manifest.height, manifest.width):
        raise ImageRefused(
            f"The image is {message.width}×{message.height}, {manifest.name} draws {manifest.width}×{manifest.height}."
        )
    expected = manifest.height * manifest.width * kind.itemsize
    if len(message.indices) != expected:
        raise ImageRefused(f"The image has {len(message.indices)} bytes of pixels, not {expected}.")
    pixels = np.frombuffer(message.indices, dtype=kind).astype(np.int64)
    if pixels.max() >= len(manifest.palette):
        raise ImageRefused(
            f"The image has the pixel {pixels.max()}, the palette ends at {len(manifest.palette) - 1}."
        )
    return pixels.reshape(manifest.height, manifest.width)


def _from_png(model: ImageModel, png: bytes) -> palette.Matched:
    manifest = model.manifest
    picture = reader.read(png, size=(manifest.width, manifest.height), formats=("PNG",))
    flat = media.flat(picture.rgba, media.background_of(manifest.recipe, manifest.palette))
    return palette.nearest(np.asarray(flat), model.palette)


def _pixel_type(model: ImageModel) -> np.dtype[Any]:
    return np.dtype(number_type(len(model.manifest.palette)))
