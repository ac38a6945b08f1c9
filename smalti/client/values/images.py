"""Images and what one-shot requests answer: frozen values, which know nothing of gRPC."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, sqrt
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias

from PIL import Image as pillow

from smalti import media
from smalti.client import notebook
from smalti.client.values.brief import Brief
from smalti.client.values.models import ModelVersion
from smalti.pictures import formats
from smalti.pictures.files import write_whole
from smalti.pixels import pack, unpack

Latent: TypeAlias = Sequence[float]
_WIDEST_SHEET = 800  # screen pixels, in a notebook


class ArrayLike(Protocol):
    """What numpy can turn into an array: an array, a Pillow image, a tensor."""

    def __array__(self) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Image:
    """Height × width pixels, each an index into a palette of '#rrggbb' colours.

    numpy.asarray(image) gives its colours, (height, width, 3) uint8; a notebook shows it.
    """

    height: int
    width: int
    indices: (
        bytes  # raster order; two bytes a pixel, little-endian, where the palette has more than 256 colours
    )
    palette: tuple[str, ...]

    @classmethod
    def of_pixels(cls, pixels: Sequence[int], *, height: int, width: int, palette: tuple[str, ...]) -> Self:
        """The image of palette indices in raster order."""
        indices = pack(pixels, len(palette))
        return cls(height=height, width=width, indices=indices, palette=palette)

    @property
    def pixels(self) -> tuple[tuple[int, ...], ...]:
        """The palette index of every pixel, row by row."""
        flat = unpack(self.indices, len(self.palette))
        return tuple(flat[start : start + self.width] for start in range(0, len(flat), self.width))

    def picture(self) -> pillow.Image:
        """The image as a Pillow image."""
        return media.picture(self.indices, height=self.height, width=self.width, palette=self.palette)

    def png(self) -> bytes:
        """The image as PNG bytes."""
        return media.encode(self.picture())

    def save(self, path: str | os.PathLike[str], *, scale: int = 1) -> Path:
        """Write a picture file (.png, .webp, .jpg, .gif, .bmp) and return its path.

        Each pixel becomes scale × scale. Raises InvalidRequest for another ending, or if the file cannot be written.
        """
        return _save(self.picture(), path, scale)

    def __repr__(self) -> str:
        return f"<Image {self.width}×{self.height}, {len(self.palette)} colours>"

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """What numpy reads; this package does not need numpy."""
        return _array_interface((self.height, self.width, 3), self.picture().convert("RGB").tobytes())

    def _repr_png_(self) -> bytes:
        scale = formats.screen_scale(self.width, self.height)
        return media.encode(formats.enlarged(self.picture(), scale))

    def _repr_html_(self) -> str:
        return notebook.picture(self._repr_png_(), f"{self.width}×{self.height}")


def _save(picture: pillow.Image, path: str | os.PathLike[str], scale: int) -> Path:
    target = Path(path)
    form = formats.format_of(target)
    formats.require_fit(picture.width * scale, picture.height * scale, form)
    write_whole(target, formats.encoded(formats.enlarged(picture, scale), form))
    return target


def _array_interface(shape: tuple[int, ...], data: bytes) -> dict[str, Any]:
    return {"version": 3, "shape": shape, "typestr": "|u1", "data": data}


ImageSource: TypeAlias = (
    Image | pillow.Image | bytes | bytearray | memoryview | str | os.PathLike[str] | ArrayLike
)  # bytes of a picture file; the path of one; or an array of uint8, (height, width) or (height, width, 3 or 4)

ImageSources: TypeAlias = ImageSource | Iterable[ImageSource]  # one, many, or an array of many


@dataclass(frozen=True, slots=True)
class ColourChange:
    """How many pixels of the given images had a colour outside the model's palette, and how far they moved."""

    moved_pixels: int = 0
    largest_distance: float = 0.0  # of these pixels, in CIELAB (ΔE*76)


NO_CHANGE = ColourChange()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Completion(Brief):
    """An image to finish: some pixels are kept, all others are drawn in raster order.

    Keep the first `rows`, or the pixels where `mask` (one byte a pixel, raster order) is 1.
    """

    image: ImageSource
    rows: int | None = None
    mask: bytes | ArrayLike | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Images(Brief):
    """Images that a model made, and how the colours of the given images changed.

    It is a sequence: len(), indices and loops work. numpy.asarray gives (count, height, width, 3) uint8. A notebook
    shows a sheet.
    """

    model: ModelVersion
    images: tuple[Image, ...]
    colour_change: ColourChange = NO_CHANGE

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)

    def __getitem__(self, index: int) -> Image:
        return self.images[index]

    def sheet(self, *, columns: int | None = None) -> pillow.Image:
        """All images side by side, on white; without `columns` about as many columns as rows."""
        pictures = [image.picture() for image in self.images]
        return media.sheet(pictures, columns=columns or self._columns(), scale=1)

    def save(
        self, path: str | os.PathLike[str], *, columns: int | None = None, scale: int = media.SHEET_SCALE
    ) -> Path:
        """Write the sheet to a file, as Image.save does, and return its path."""
        return _save(self.sheet(columns=columns), path, scale)

    def _columns(self) -> int:
        return ceil(sqrt(len(self.images)))

    @property
    def __array_interface__(self) -> dict[str, Any]:
        size = (self.images[0].height, self.images[0].width) if self.images else (0, 0)
        data = b"".join(image.picture().convert("RGB").tobytes() for image in self.images)
        return _array_interface((len(self.images), *size, 3), data)

    def _repr_png_(self) -> bytes | None:
        if not self.images:
            return None
        sheet = self.sheet()
        scales = (scale for scale in range(media.SHEET_SCALE, 1, -1) if sheet.width * scale <= _WIDEST_SHEET)
        return media.encode(formats.enlarged(sheet, next(scales, 1)))

    def _repr_html_(self) -> str:
        shown = self._repr_png_()
        words = f"{len(self.images)} images by {self.model.name}, version {self.model.version}"
        return notebook.figure(shown, words)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Drawn(Images):
    """Images drawn from random latents: the same seed and model draw the same images."""

    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Swept(Images):
    """steps × steps images, row by row: two latent dimensions over a grid."""

    steps: int

    def _columns(self) -> int:
        return self.steps


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Encoded(Brief):
    """Latents of images."""

    model: ModelVersion
    means: tuple[tuple[float, ...], ...]
    log_deviations: tuple[tuple[float, ...], ...]  # empty for an auto-encoder
    colour_change: ColourChange


class ScoreKind(StrEnum):
    """What a score means."""

    LOG_LIKELIHOOD = "LOG_LIKELIHOOD"  # nats, exact (PixelRNN)
    ELBO = "ELBO"  # nats, a lower bound from one draw of the noise (VAE)
    REAL_PROBABILITY = "REAL_PROBABILITY"  # P(real) (GAN)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Scores(Brief):
    """How likely, or how real, a model finds images."""

    model: ModelVersion
    kind: ScoreKind
    scores: tuple[float, ...]
    colour_change: ColourChange


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DrawStarted(Brief):
    """An image is about to be drawn, row by row."""

    model: ModelVersion
    seed: int
    job_id: str
    height: int
    width: int
    palette: tuple[str, ...]
    colour_change: ColourChange


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DrawnRows(Brief):
    """More rows of the image."""

    first_row: int
    indices: bytes  # whole rows, as in Image.indices


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DrawFinished(Brief):
    """The image is complete."""

    image: Image
    log_probability: float  # nats, of all pixels


DrawEvent: TypeAlias = DrawStarted | DrawnRows | DrawFinished
