"""What a client gets: plain frozen values, which know nothing of gRPC."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from math import ceil, sqrt
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from PIL import Image as pillow

from smalti import media
from smalti.client import notebook
from smalti.jobs.job import TERMINAL, JobClass, JobState
from smalti.pictures import formats
from smalti.pictures.files import write_whole
from smalti.pixels import unpack

Latent: TypeAlias = Sequence[float]
_WIDEST_SHEET = 800  # screen pixels, in a notebook
_LONGEST_REPR = 60  # characters of one field


class Brief:
    """A value whose repr is short: of what is long, it says how much there is."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = (f"{field.name}={_brief(getattr(self, field.name))}" for field in fields(self))  # type: ignore[arg-type]  # every heir is a dataclass
        return f"{type(self).__name__}({', '.join(shown)})"


def _brief(value: object) -> str:
    match value:
        case StrEnum() | datetime():
            return str(value)
        case bytes() | tuple() | list() | Mapping() if len(value) > 4:
            return f"<{len(value)} {'bytes' if isinstance(value, bytes) else 'items'}>"
    text = repr(value)
    return text if len(text) <= _LONGEST_REPR or isinstance(value, Brief) else f"{text[:_LONGEST_REPR]}…"


class ArrayLike(Protocol):
    """What numpy makes an array of: an array itself, a Pillow image, a tensor."""

    def __array__(self) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Image:
    """One picture, as indices into a palette of '#rrggbb' colours.

    numpy.asarray(image) are its colours, (height, width, 3) uint8; a notebook shows it.
    """

    height: int
    width: int
    indices: (
        bytes  # raster order; two bytes a pixel, little-endian, where the palette has more than 256 colours
    )
    palette: tuple[str, ...]

    @property
    def pixels(self) -> tuple[tuple[int, ...], ...]:
        """The palette index of every pixel, row by row."""
        flat = unpack(self.indices, len(self.palette))
        return tuple(flat[start : start + self.width] for start in range(0, len(flat), self.width))

    def picture(self) -> pillow.Image:
        """The same as a Pillow image."""
        return media.picture(self.indices, height=self.height, width=self.width, palette=self.palette)

    def png(self) -> bytes:
        """The same as PNG bytes."""
        return media.encode(self.picture())

    def save(self, path: str | os.PathLike[str], *, scale: int = 1) -> Path:
        """Write a file of the kind that its ending says (.png, .webp, .jpg, .gif, .bmp); gives its path.

        Each pixel becomes scale × scale. Raises InvalidRequest for another ending, or where it cannot be written.
        """
        return _save(self.picture(), path, scale)

    def __repr__(self) -> str:
        return f"<Image {self.width}×{self.height}, {len(self.palette)} colours>"

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """Read by numpy, which this package can do without."""
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
)  # bytes: of a PNG, JPEG, …; str and PathLike: its file; ArrayLike: uint8, (height, width) or (height, width, 3 or 4)

ImageSources: TypeAlias = ImageSource | Iterable[ImageSource]  # one, many, or an array of many


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model by name; version 0 is the latest."""

    name: str
    version: int = 0
    digest: str = field(default="", compare=False, repr=False)  # in answers: of the very model


@dataclass(frozen=True, slots=True)
class ColourChange:
    """What mapping the colours of given images to the model's palette changed."""

    moved_pixels: int = 0
    largest_distance: float = 0.0  # of those, in CIELAB (ΔE*76)


NO_CHANGE = ColourChange()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Completion(Brief):
    """A picture to finish: what of it is kept, the rest is drawn in raster order after it.

    Keep `rows` from the top, or the pixels where `mask` (one byte a pixel, raster order) is 1.
    """

    image: ImageSource
    rows: int | None = None
    mask: bytes | ArrayLike | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Model(Brief):
    """A version of a model that the server serves."""

    name: str
    version: int
    family: str
    variant: str
    height: int
    width: int
    palette: tuple[str, ...]
    graphs: tuple[str, ...]
    latent_size: int
    digest: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelDetails(Brief):
    """A model and all that its manifest says: recipe, data, test figures, parity."""

    model: Model
    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in the server's model repository that is not served, and why."""

    place: str  # below the repository's folder, such as sprites-vae/2; empty: the folder itself
    reason: str  # one sentence


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Images(Brief):
    """Images that a model made, and how far the colours of given ones had to move for that.

    A sequence of them: len(), indices and loops work, numpy.asarray gives (count, height, width, 3) uint8, and a
    notebook shows a sheet.
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
        """All of them side by side, on white; about as many columns as rows unless told."""
        pictures = [image.picture() for image in self.images]
        return media.sheet(pictures, columns=columns or self._columns(), scale=1)

    def save(
        self, path: str | os.PathLike[str], *, columns: int | None = None, scale: int = media.SHEET_SCALE
    ) -> Path:
        """Write the sheet to a file, as Image.save does; gives its path."""
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
    """Images drawn from random latents: the same seed and model draw the same again."""

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
    """What a score is."""

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
class Job:
    """One request for samples, as the server knows it now."""

    id: str
    model: ModelVersion
    state: JobState
    count: int
    seed: int
    first_index: int
    temperature: float
    height: int
    width: int
    done: int
    failed: int
    running: int  # samples in some worker's slots
    created: datetime | None
    started: datetime | None
    ended: datetime | None
    expires: datetime | None  # results are kept until then
    reason: str  # why it failed or waits, e.g. NO_WORKER_FOR_MODEL or MODEL_REPLACED
    job_class: JobClass = JobClass.STANDARD
    colour_change: ColourChange = NO_CHANGE  # known only in the answer to submit

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be drawn."""
        return self.state in TERMINAL

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self._words}>"

    @property
    def _words(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        reason = f", {self.reason}" if self.reason else ""
        return (
            f"{self.model.name} version {self.model.version}, seed {self.seed}, "
            f"{self.state}, {self.done} of {self.count} samples{failed}{reason}"
        )

    def _repr_png_(self) -> bytes:
        return notebook.bar(self.done, self.failed, self.count)

    def _repr_html_(self) -> str:
        return notebook.figure(self._repr_png_(), f"Job {self.id}: {self._words}")


JobOrId: TypeAlias = Job | str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SampleResult(Brief):
    """What one sample came to; `image` is None where it failed, and `error` says why."""

    index: int
    image: Image | None
    log_probability: float  # nats, of all pixels
    error: str
    fingerprint: str

    def _repr_png_(self) -> bytes | None:
        return None if self.image is None else self.image._repr_png_()

    def _repr_html_(self) -> str:
        said = self.error or f"log-probability {self.log_probability:.1f} nats"
        return notebook.figure(self._repr_png_(), f"Sample {self.index}: {said}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SampleRows(Brief):
    """More rows of a sample that is being drawn."""

    index: int
    first_row: int
    indices: bytes  # whole rows, as in Image.indices


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SampleEnded(Brief):
    """A sample is complete, or has failed."""

    index: int
    succeeded: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Interrupted(Brief):
    """The server or its Redis is away; the watch goes on by itself after `retry_seconds`."""

    message: str
    retry_seconds: float


JobEvent: TypeAlias = Job | SampleRows | SampleEnded | Interrupted


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DrawStarted(Brief):
    """An image is going to be drawn row by row."""

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
