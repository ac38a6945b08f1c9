"""Image messages ↔ images of a model: pixels in its palette."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from smalti import media, palette
from smalti.errors import ImageRefused, RepositoryDamaged
from smalti.palette import Matched
from smalti.pictures import reader
from smalti.pictures.report import reason_of
from smalti.pixels import number_type
from smalti.runtime.manifest import Manifest
from smalti.v1 import types_pb2

Pixels = NDArray[np.int64]
Result = TypeVar("Result")
_PNG = ("PNG",)
_MOST_BYTES = 8  # of a pixel in a PNG; a larger file holds something else, which takes time too


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


def area(model: ImageModel) -> int:
    """The pixels of one image of the model."""
    return model.manifest.height * model.manifest.width


def weight(model: ImageModel, images: Sequence[types_pb2.Image], *, fields: Sequence[str]) -> int:
    """How much work it is to read the images, in pixels. Looks at headers only.

    `fields` are the fields of the request that hold the images: one for each image, or one for all. Raises ImageRefused
    for an image that is missing or has another size.
    """
    return sum(_naming(place, _weight_of_one, model, image) for place, image in _placed(images, fields))


def readers(
    model: ImageModel, images: Sequence[types_pb2.Image], *, fields: Sequence[str]
) -> list[Callable[[], Matched]]:
    """Steps that read one image each, off the event loop. A step raises ImageRefused."""
    return [partial(_naming, place, _read_one, model, image) for place, image in _placed(images, fields)]


def gathered(matched: Sequence[Matched]) -> GivenImages:
    """The images that steps have read."""
    return GivenImages(
        pixels=np.stack([image.pixels for image in matched]),
        colour_change=types_pb2.ColourChange(
            moved_pixels=sum(image.moved for image in matched),
            largest_distance=max(image.largest_distance for image in matched),
        ),
    )


def writers(model: ImageModel, pixels: NDArray[Any], form: int) -> list[Callable[[], types_pb2.Image]]:
    """Steps that write one each of the images (images, height, width) that the model drew.

    Raises RepositoryDamaged where a pixel is not in the palette.
    """
    if pixels.min() < 0 or pixels.max() >= len(model.manifest.palette):
        raise RepositoryDamaged(
            f"{model.manifest.name} version {model.manifest.version} drew a colour that its palette does not have: "
            "export it again."
        )
    return [writer(model, image.tobytes(), form) for image in pixels.astype(_pixel_type(model))]


def writer(model: ImageModel, indices: bytes, form: int) -> Callable[[], types_pb2.Image]:
    """The step that writes one image, given as bytes like those of Pixels.indices."""
    return partial(_written, model, indices, form)


def _written(model: ImageModel, indices: bytes, form: int) -> types_pb2.Image:
    height, width = model.manifest.height, model.manifest.width
    if form == types_pb2.IMAGE_FORMAT_PIXELS:
        return types_pb2.Image(pixels=types_pb2.Pixels(height=height, width=width, indices=indices))
    return types_pb2.Image(png=media.png(indices, height=height, width=width, palette=model.manifest.palette))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an image is in its request, for errors."""

    field: str
    number: int
    count: int


def _placed(
    images: Sequence[types_pb2.Image], fields: Sequence[str]
) -> Iterator[tuple[_Place, types_pb2.Image]]:
    for number, (image, field) in enumerate(zip(images, cycle(fields), strict=False), start=1):
        yield _Place(field, number, len(images)), image


def _naming(
    place: _Place,
    work: Callable[[ImageModel, types_pb2.Image], Result],
    model: ImageModel,
    image: types_pb2.Image,
) -> Result:
    """The result for one image; an error names the field, and for one of several images its number."""
    try:
        return work(model, image)
    except ImageRefused as error:
        said = (
            str(error) if place.count == 1 else f"Image {place.number} of {place.count} {reason_of(error)}."
        )
        raise ImageRefused(said, field=place.field) from error


def _weight_of_one(model: ImageModel, image: types_pb2.Image) -> int:
    match image.WhichOneof("content"):
        case "pixels":
            _refuse_other_pixels(model, image.pixels)
        case "png":
            reader.refuse_by_header(image.png, size=_size(model), formats=_PNG)
        case _:
            raise ImageRefused("The image is missing: give a PNG or pixels.")
    return max(area(model), len(image.png) // _MOST_BYTES)


def _read_one(model: ImageModel, image: types_pb2.Image) -> Matched:
    if image.WhichOneof("content") == "pixels":
        return Matched(_from_pixels(model, image.pixels), moved=0, largest_distance=0.0)
    return _from_png(model, image.png)


def _refuse_other_pixels(model: ImageModel, message: types_pb2.Pixels) -> None:
    manifest = model.manifest
    if (message.height, message.width) != (manifest.height, manifest.width):
        raise ImageRefused(
            f"The image is {message.width}×{message.height}, {manifest.name} draws {manifest.width}×{manifest.height}."
        )
    expected = area(model) * _pixel_type(model).itemsize
    if len(message.indices) != expected:
        raise ImageRefused(f"The image has {len(message.indices)} bytes of pixels, not {expected}.")


def _from_pixels(model: ImageModel, message: types_pb2.Pixels) -> Pixels:
    manifest = model.manifest
    pixels = np.frombuffer(message.indices, dtype=_pixel_type(model)).astype(np.int64)
    if pixels.max() >= len(manifest.palette):
        raise ImageRefused(
            f"The image has the pixel {pixels.max()}, the palette ends at {len(manifest.palette) - 1}."
        )
    return pixels.reshape(manifest.height, manifest.width)


def _from_png(model: ImageModel, png: bytes) -> Matched:
    manifest = model.manifest
    picture = reader.read(png, size=_size(model), formats=_PNG)
    flat = media.flat(picture.rgba, media.background_of(manifest.recipe, manifest.palette))
    return palette.nearest(np.asarray(flat), model.palette)


def _size(model: ImageModel) -> tuple[int, int]:
    return model.manifest.width, model.manifest.height


def _pixel_type(model: ImageModel) -> np.dtype[Any]:
    return np.dtype(number_type(len(model.manifest.palette)))
