"""The calls of ImageService, made of plain values; their responses become plain values again."""

from collections.abc import Iterable, Sequence
from typing import Any

from smalti.client import arrays
from smalti.client.calls.call import UNFIT, Call, ImageCall, Palette, from_values
from smalti.client.calls.fields import check_whole, model_version, real, shown
from smalti.client.calls.sources import image_message, image_messages
from smalti.client.values import (
    ColourChange,
    Completion,
    DrawEvent,
    DrawFinished,
    Drawn,
    DrawnRows,
    DrawStarted,
    Encoded,
    Image,
    Images,
    ImageSource,
    ImageSources,
    Latent,
    ModelVersion,
    ScoreKind,
    Scores,
    Swept,
)
from smalti.errors import InvalidRequest
from smalti.v1 import images_pb2, images_pb2_grpc, types_pb2

PIXELS = types_pb2.IMAGE_FORMAT_PIXELS  # smaller than PNG, and the palette is known after the first image
SERVICE: Any = images_pb2_grpc.ImageServiceStub  # Any: grpc generates stubs without types


@from_values
def draw(model: str, *, count: int, seed: int | None, first_index: int, version: int) -> ImageCall[Drawn]:
    check_whole("count", count, least=1, bits=32)
    check_whole("seed", seed)
    check_whole("first_index", first_index)
    request = images_pb2.DrawRequest(
        model=model_version(model, version), count=count, seed=seed, first_index=first_index, format=PIXELS
    )
    return ImageCall(SERVICE, "Draw", request, _drawn)


@from_values
def draw_stream(
    model: str,
    *,
    seed: int | None,
    index: int,
    temperature: float,
    completion: Completion | None,
    version: int,
) -> ImageCall[DrawEvent]:
    check_whole("seed", seed)
    check_whole("index", index)
    request = images_pb2.DrawStreamRequest(
        model=model_version(model, version),
        seed=seed,
        index=index,
        temperature=real("temperature", temperature),
        completion=None if completion is None else completion_message(completion),
        format=PIXELS,
    )
    return ImageCall(SERVICE, "DrawStream", request, read_draw_event)


@from_values
def encode(model: str, images: ImageSources, *, version: int) -> Call[Encoded]:
    request = images_pb2.EncodeRequest(model=model_version(model, version), images=image_messages(images))
    return Call(SERVICE, "Encode", request, _encoded)


@from_values
def decode(model: str, latents: Sequence[Latent], *, version: int) -> ImageCall[Images]:
    request = images_pb2.DecodeRequest(
        model=model_version(model, version),
        latents=_latents(latents),
        format=PIXELS,
    )
    return ImageCall(SERVICE, "Decode", request, _images)


@from_values
def reconstruct(model: str, images: ImageSources, *, version: int) -> ImageCall[Images]:
    request = images_pb2.ReconstructRequest(
        model=model_version(model, version), images=image_messages(images), format=PIXELS
    )
    return ImageCall(SERVICE, "Reconstruct", request, _images)


@from_values
def interpolate(
    model: str, first: ImageSource, last: ImageSource, *, steps: int, version: int
) -> ImageCall[Images]:
    check_whole("steps", steps, least=2, bits=32)
    request = images_pb2.InterpolateRequest(
        model=model_version(model, version),
        first=image_message(first),
        last=image_message(last),
        steps=steps,
        format=PIXELS,
    )
    return ImageCall(SERVICE, "Interpolate", request, _images)


@from_values
def sweep(
    model: str,
    dimensions: tuple[int, int],
    *,
    image: ImageSource | None,
    steps: int,
    low: float | None,
    high: float | None,
    version: int,
) -> ImageCall[Swept]:
    row, column = _pair(dimensions)
    check_whole("steps", steps, least=2, bits=32)
    request = images_pb2.SweepRequest(
        model=model_version(model, version),
        image=None if image is None else image_message(image),
        row_dimension=row,
        column_dimension=column,
        steps=steps,
        low=None if low is None else real("low", low),
        high=None if high is None else real("high", high),
        format=PIXELS,
    )
    return ImageCall(SERVICE, "Sweep", request, _swept)


@from_values
def score(model: str, images: ImageSources, *, seed: int | None, version: int) -> Call[Scores]:
    check_whole("seed", seed)
    request = images_pb2.ScoreRequest(
        model=model_version(model, version), images=image_messages(images), seed=seed
    )
    return Call(SERVICE, "Score", request, _scores)


# Values → messages
def _pair(dimensions: Any) -> tuple[int, int]:
    if not isinstance(dimensions, Iterable) or len(both := tuple(dimensions)) != 2:
        raise InvalidRequest(
            f"dimensions is {shown(dimensions)}; it must be two numbers, such as (2, 7).", field="dimensions"
        )
    for dimension in both:
        check_whole("dimensions", dimension, bits=32)
    return both[0], both[1]


def _latents(latents: Sequence[Latent]) -> list[types_pb2.Latent]:
    try:
        return [types_pb2.Latent(values=latent) for latent in latents]
    except UNFIT as error:
        raise InvalidRequest(
            f"latents is {shown(latents)}; it must be a list of numbers for each image, such as encode(…).means.",
            field="latents",
        ) from error


def completion_message(completion: Completion) -> images_pb2.Completion:
    """The message of a completion; raises InvalidRequest."""
    if not isinstance(completion, Completion):
        raise InvalidRequest(
            f"completion is {shown(completion)}; write Completion(image=…, rows=…), or mask=… in place of rows.",
            field="completion",
        )
    if (completion.rows is None) == (completion.mask is None):
        raise InvalidRequest("Give either rows or a mask to keep.", field="completion")
    check_whole("rows", completion.rows, bits=32)
    mask = None if completion.mask is None else arrays.mask(completion.mask)
    return images_pb2.Completion(image=image_message(completion.image), rows=completion.rows, mask=mask)


# Messages → values
def version_of(message: types_pb2.ModelVersion) -> ModelVersion:
    """The model version that a response names."""
    return ModelVersion(message.name, message.version, message.digest)


def read_image(message: types_pb2.Image, palette: Palette) -> Image:
    """The image in a response; its colours are the model's palette."""
    pixels = message.pixels
    return Image(height=pixels.height, width=pixels.width, indices=pixels.indices, palette=palette)


def _read_images(messages: Sequence[types_pb2.Image], palette: Palette) -> tuple[Image, ...]:
    return tuple(read_image(message, palette) for message in messages)


def read_colour_change(message: types_pb2.ColourChange) -> ColourChange:
    """The colour change in a response."""
    return ColourChange(message.moved_pixels, message.largest_distance)


def _images(reply: Any, palette: Palette) -> Images:
    change = getattr(reply, "colour_change", types_pb2.ColourChange())  # Decode has none
    return Images(
        model=version_of(reply.model),
        images=_read_images(reply.images, palette),
        colour_change=read_colour_change(change),
    )


def _drawn(reply: images_pb2.DrawResponse, palette: Palette) -> Drawn:
    return Drawn(model=version_of(reply.model), images=_read_images(reply.images, palette), seed=reply.seed)


def _swept(reply: images_pb2.SweepResponse, palette: Palette) -> Swept:
    return Swept(
        model=version_of(reply.model),
        images=_read_images(reply.images, palette),
        colour_change=read_colour_change(reply.colour_change),
        steps=reply.steps,
    )


def _encoded(reply: images_pb2.EncodeResponse) -> Encoded:
    return Encoded(
        model=version_of(reply.model),
        means=tuple(tuple(latent.values) for latent in reply.means),
        log_deviations=tuple(tuple(latent.values) for latent in reply.log_deviations),
        colour_change=read_colour_change(reply.colour_change),
    )


def _scores(reply: images_pb2.ScoreResponse) -> Scores:
    return Scores(
        model=version_of(reply.model),
        kind=ScoreKind(images_pb2.ScoreKind.Name(reply.kind).removeprefix("SCORE_KIND_")),
        scores=tuple(reply.scores),
        colour_change=read_colour_change(reply.colour_change),
    )


def read_draw_event(reply: images_pb2.DrawStreamResponse, palette: Palette) -> DrawEvent:
    """The event in one message of DrawStream."""
    if reply.HasField("started"):
        return _draw_started(reply.started, palette)
    if reply.HasField("rows"):
        return DrawnRows(first_row=reply.rows.first_row, indices=reply.rows.indices)
    return DrawFinished(
        image=read_image(reply.finished.image, palette), log_probability=reply.finished.log_probability
    )


def _draw_started(started: images_pb2.DrawStarted, palette: Palette) -> DrawStarted:
    return DrawStarted(
        model=version_of(started.model),
        seed=started.seed,
        job_id=started.job_id,
        height=started.height,
        width=started.width,
        palette=palette,
        colour_change=read_colour_change(started.colour_change),
    )
