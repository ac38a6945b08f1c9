"""Completes pictures: a job for each, all queued before the first is looked at, and none left behind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from PIL import Image as pillow

from smalti import media
from smalti.client import Client
from smalti.client.values import Completion, Image, Job, ModelVersion, SampleResult
from smalti.errors import SampleFailed, SmaltiError
from smalti.pixels import pack

_RETENTION_SECONDS = 3600.0  # for results whose turn has not come, and for jobs that could not be deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A picture of which the model is shown a part; the rest is to be drawn."""

    name: str
    image: Image
    kept: bytes  # one byte a pixel, in raster order: 1 where the model is shown it, 0 where it draws

    @property
    def shown(self) -> Image:
        """What the model is shown."""
        return hiding(self.image, self.kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A picture, and the ways in which the model went on."""

    picture: Unfinished
    job: Job
    draws: tuple[SampleResult, ...]

    @property
    def drawn(self) -> list[Image]:
        """The image of every draw: `fetch` takes none without."""
        return [draw.image for draw in self.draws if draw.image is not None]

    @property
    def images(self) -> list[Image]:
        """Original, what the model was shown (in its own colours, as every draw has them), draws."""
        return [self.picture.image, hiding(self.drawn[0], self.picture.kept), *self.drawn]

    def number(self, draw: SampleResult) -> int:
        """Which image of the seed a draw is."""
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
    """A job for each picture, in order; what is left of them is cancelled and forgotten at the end.

    They are images of one seed, numbered on from first_index through all pictures: two of which the same is shown
    go on differently.
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
    """The draws of a job that has ended; raises SampleFailed unless all are there."""
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
    """What keeps the first rows, as `Unfinished.kept`."""
    return bytes([1]) * (rows * width) + bytes((height - rows) * width)


def indexed(picture: pillow.Image) -> Image:
    """A Pillow image in a palette of its own colours."""
    flat = picture.convert("RGB").tobytes()
    colours = [flat[start : start + 3] for start in range(0, len(flat), 3)]
    numbers = {colour: number for number, colour in enumerate(dict.fromkeys(colours))}
    return _image(
        [numbers[colour] for colour in colours],
        height=picture.height,
        width=picture.width,
        palette=tuple(f"#{colour.hex()}" for colour in numbers),
    )


def hiding(image: Image, kept: bytes) -> Image:
    """The image with every other pixel in the colour of what is hidden."""
    pixels = [pixel for row in image.pixels for pixel in row]
    seen = [pixel if keep else len(image.palette) for pixel, keep in zip(pixels, kept, strict=True)]
    palette = (*image.palette, media.HIDDEN)
    return _image(seen, height=image.height, width=image.width, palette=palette)


def _image(pixels: Sequence[int], *, height: int, width: int, palette: tuple[str, ...]) -> Image:
    indices = pack(pixels, len(palette))
    return Image(height=height, width=width, indices=indices, palette=palette)


def _forget(client: Client, job: Job) -> None:
    with suppress(
        SmaltiError
    ):  # a job that is still stopping, or a server that is away: its retention is short
        client.cancel(job.id)
        client.delete(job.id)
