"""Completes pictures: one job for each, all queued at once, and deleted at the end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from PIL import Image as pillow

from smalti import media
from smalti.client.client import Client
from smalti.client.values import Completion, Image, Job, ModelVersion, SampleResult
from smalti.errors import SampleFailed, SmaltiError

_RETENTION_SECONDS = 3600.0  # for results that are read late, and for jobs that could not be deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """An image and its kept pixels; the model draws all others."""

    name: str
    image: Image
    kept: bytes  # one byte a pixel, in raster order: 1 is kept, 0 is drawn

    @property
    def shown(self) -> Image:
        """The image with only its kept pixels visible."""
        return hiding(self.image, self.kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """An image and the draws that complete it."""

    picture: Unfinished
    job: Job
    draws: tuple[SampleResult, ...]

    @property
    def drawn(self) -> list[Image]:
        """The image of every draw; `fetch` makes sure that each has one."""
        return [draw.image for draw in self.draws if draw.image is not None]

    @property
    def images(self) -> list[Image]:
        """The original, its kept pixels in the model's palette, and the draws."""
        return [self.picture.image, hiding(self.drawn[0], self.picture.kept), *self.drawn]

    def number(self, draw: SampleResult) -> int:
        """The number of a draw among the images of its seed."""
        return self.job.first_index + draw.index


@contextmanager
def queued(
    client: Client,
    model: ModelVersion,
    pictures: Sequence[Unfinished],
    *,
    draws: int,
    seed: int | None,
    first_index: int,
    temperature: float,
) -> Iterator[list[Job]]:
    """Queue a job for each picture, in order; cancel and delete these jobs at the end.

    All draws share one seed and are numbered from first_index through all pictures, so equal pictures get different
    draws.
    """
    jobs: list[Job] = []
    try:
        for number, picture in enumerate(pictures):
            job = client.submit(
                model.name,
                count=draws,
                seed=seed,
                first_index=first_index + number * draws,
                temperature=temperature,
                completion=Completion(image=picture.image, mask=picture.kept),
                retention_seconds=_RETENTION_SECONDS,
                version=model.version,
            )
            jobs.append(job)
            seed = job.seed
        yield jobs
    finally:
        for job in jobs:
            _forget(client, job)


def fetch(client: Client, picture: Unfinished, job: Job) -> Completed:
    """The draws of a job that has ended; raises SampleFailed if one is missing."""
    results = tuple(client.results(job.id))
    for result in results:
        if result.image is None:
            raise SampleFailed(f"{picture.name}: draw {result.index} failed: {result.error}")
    if len(results) != job.count:
        raise SampleFailed(
            f"{picture.name}: the job was cancelled after {len(results)} of {job.count} draws."
        )
    return Completed(picture=picture, job=job, draws=results)


def first_rows(rows: int, *, height: int, width: int) -> bytes:
    """The mask that keeps the first rows, as `Unfinished.kept`."""
    return bytes([1]) * (rows * width) + bytes((height - rows) * width)


def indexed(picture: pillow.Image) -> Image:
    """A Pillow image as an image whose palette is its own colours."""
    flat = picture.convert("RGB").tobytes()
    colours = [flat[start : start + 3] for start in range(0, len(flat), 3)]
    numbers = {colour: number for number, colour in enumerate(dict.fromkeys(colours))}
    return Image.of_pixels(
        [numbers[colour] for colour in colours],
        height=picture.height,
        width=picture.width,
        palette=tuple(f"#{colour.hex()}" for colour in numbers),
    )


def hiding(image: Image, kept: bytes) -> Image:
    """The image with all pixels that are not kept in the colour for hidden ones."""
    pixels = [pixel for row in image.pixels for pixel in row]
    seen = [pixel if keep else len(image.palette) for pixel, keep in zip(pixels, kept, strict=True)]
    palette = (*image.palette, media.HIDDEN)
    return Image.of_pixels(seen, height=image.height, width=image.width, palette=palette)


def _forget(client: Client, job: Job) -> None:
    with suppress(SmaltiError):  # the job may not have stopped, or the server be away: it expires soon
        client.cancel(job.id)
        client.delete(job.id)
