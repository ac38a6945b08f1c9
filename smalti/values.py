"""What a client gets: plain frozen values, which know nothing of gRPC."""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image as pillow

from smalti import media
from smalti.jobs.job import TERMINAL, JobClass, JobState

Latent: TypeAlias = Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One picture, as indices into a palette of '#rrggbb' colours."""

    height: int
    width: int
    indices: (
        bytes  # raster order; two bytes a pixel, little-endian, where the palette has more than 256 colours
    )
    palette: tuple[str, ...]

    @property
    def pixels(self) -> tuple[tuple[int, ...], ...]:
        """The palette index of every pixel, row by row."""
        size = "B" if len(self.palette) <= 256 else "H"
        flat = struct.unpack(f"<{self.height * self.width}{size}", self.indices)
        return tuple(flat[start : start + self.width] for start in range(0, len(flat), self.width))

    def picture(self) -> pillow.Image:
        """The same as a Pillow image."""
        return media.picture(self.indices, height=self.height, width=self.width, palette=self.palette)

    def png(self) -> bytes:
        """The same as PNG bytes."""
        return media.encode(self.picture())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the PNG to a file; gives its path."""
        target = Path(path)
        target.write_bytes(self.png())
        return target


ImageSource: TypeAlias = (
    Image | pillow.Image | bytes | str | os.PathLike[str]
)  # bytes: of a PNG, JPEG, …; str and PathLike: its file


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model by name; version 0 is the latest."""

    name: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class ColourChange:
    """What mapping the colours of given images to the model's palette changed."""

    moved_pixels: int = 0
    largest_distance: float = 0.0  # of those, in CIELAB (ΔE*76)


NO_CHANGE = ColourChange()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A picture to finish: what of it is kept, the rest is drawn in raster order after it.

    Keep `rows` from the top, or the pixels where `mask` (one byte a pixel, raster order) is 1.
    """

    image: ImageSource
    rows: int | None = None
    mask: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDetails:
    """A model and all that its manifest says: recipe, data, test figures, parity."""

    model: Model
    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images that a model made, and how far the colours of given ones had to move for that."""

    model: ModelVersion
    images: tuple[Image, ...]
    colour_change: ColourChange = NO_CHANGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn(Images):
    """Images drawn from random latents: the same seed and model draw the same again."""

    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept(Images):
    """steps × steps images, row by row: two latent dimensions over a grid."""

    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How likely, or how real, a model finds images."""

    model: ModelVersion
    kind: ScoreKind
    scores: tuple[float, ...]
    colour_change: ColourChange


@dataclass(frozen=True, slots=True, kw_only=True)
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
    reason: str  # why it failed or waits, e.g. NO_WORKER_FOR_MODEL
    job_class: JobClass = JobClass.STANDARD
    colour_change: ColourChange = NO_CHANGE  # known only in the answer to submit

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be drawn."""
        return self.state in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleResult:
    """What one sample came to; `image` is None where it failed, and `error` says why."""

    index: int
    image: Image | None
    log_probability: float  # nats, of all pixels
    error: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRows:
    """More rows of a sample that is being drawn."""

    index: int
    first_row: int
    indices: bytes  # whole rows, as in Image.indices


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleEnded:
    """A sample is complete, or has failed."""

    index: int
    succeeded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The server or its Redis is away; the watch goes on by itself after `retry_seconds`."""

    message: str
    retry_seconds: float


JobEvent: TypeAlias = Job | SampleRows | SampleEnded | Interrupted


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawStarted:
    """An image is going to be drawn row by row."""

    model: ModelVersion
    seed: int
    job_id: str
    height: int
    width: int
    palette: tuple[str, ...]
    colour_change: ColourChange


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRows:
    """More rows of the image."""

    first_row: int
    indices: bytes  # whole rows, as in Image.indices


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawFinished:
    """The image is complete."""

    image: Image
    log_probability: float  # nats, of all pixels


DrawEvent: TypeAlias = DrawStarted | DrawnRows | DrawFinished
