"""Values ↔ protobuf messages: how every RPC's request is made and its response read, for both clients."""

import json
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from PIL import Image as pillow

from smalti import media
from smalti.client import arrays
from smalti.client.values import (
    NO_CHANGE,
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
    Job,
    JobEvent,
    JobOrId,
    Latent,
    LeftOut,
    Model,
    ModelDetails,
    ModelVersion,
    SampleEnded,
    SampleResult,
    SampleRows,
    ScoreKind,
    Scores,
    Swept,
)
from smalti.errors import ImageRefused, InvalidRequest, ModelNotFound
from smalti.jobs.job import JobClass, JobState
from smalti.pictures import finding, reader
from smalti.v1 import (
    images_pb2,
    images_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    types_pb2,
)

Reply = TypeVar("Reply")
Made = TypeVar("Made")
Given = ParamSpec("Given")
Palette = tuple[str, ...]
_LONGEST_SHOWN = 80  # characters of a wrong value in a sentence
_PIXELS = types_pb2.IMAGE_FORMAT_PIXELS  # smaller than PNG, and the palette is known after the first image
_LONGEST_SECONDS = 1e11  # what a Duration holds is a little more, what a server allows far less
_UNFIT = (
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
)  # what values raise that are none

IMAGE_SERVICE: Any = images_pb2_grpc.ImageServiceStub  # Any: grpc generates stubs without types
JOB_SERVICE: Any = jobs_pb2_grpc.JobServiceStub
MODEL_SERVICE: Any = models_pb2_grpc.ModelServiceStub
SERVICES = (IMAGE_SERVICE, JOB_SERVICE, MODEL_SERVICE)


@dataclass(frozen=True, slots=True)
class Call(Generic[Reply]):
    """One RPC: where it goes, what it says, and how its response is read."""

    service: Any
    method: str
    request: Any
    read: Callable[[Any], Reply]


@dataclass(frozen=True, slots=True)
class PictureCall(Generic[Reply]):
    """An RPC whose response is read with the palette of the model version that it names."""

    service: Any
    method: str
    request: Any
    read: Callable[[Any, Palette], Reply]


def _request(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """Of whatever values a request is to be made: if that cannot be, it is told as InvalidRequest."""

    @wraps(make)
    def made(*args: Given.args, **values: Given.kwargs) -> Made:
        try:
            return make(*args, **values)
        except _UNFIT as error:
            raise InvalidRequest(f"No request for {make.__name__} can be made of this: {error}.") from error

    return made


# One-shot requests
@_request
def draw(model: str, *, count: int, seed: int | None, first_index: int, version: int) -> PictureCall[Drawn]:
    check_whole("count", count, least=1, bits=32)
    check_whole("seed", seed)
    check_whole("first_index", first_index)
    request = images_pb2.DrawRequest(
        model=_model(model, version), count=count, seed=seed, first_index=first_index, format=_PIXELS
    )
    return PictureCall(IMAGE_SERVICE, "Draw", request, _drawn)


@_request
def draw_stream(
    model: str,
    *,
    seed: int | None,
    index: int,
    temperature: float,
    completion: Completion | None,
    version: int,
) -> PictureCall[DrawEvent]:
    check_whole("seed", seed)
    check_whole("index", index)
    request = images_pb2.DrawStreamRequest(
        model=_model(model, version),
        seed=seed,
        index=index,
        temperature=_real("temperature", temperature),
        completion=None if completion is None else _completion(completion),
        format=_PIXELS,
    )
    return PictureCall(IMAGE_SERVICE, "DrawStream", request, read_draw_event)


@_request
def encode(model: str, images: ImageSources, *, version: int) -> Call[Encoded]:
    request = images_pb2.EncodeRequest(model=_model(model, version), images=_sources(images))
    return Call(IMAGE_SERVICE, "Encode", request, _encoded)


@_request
def decode(model: str, latents: Sequence[Latent], *, version: int) -> PictureCall[Images]:
    request = images_pb2.DecodeRequest(
        model=_model(model, version),
        latents=_latents(latents),
        format=_PIXELS,
    )
    return PictureCall(IMAGE_SERVICE, "Decode", request, _images)


@_request
def reconstruct(model: str, images: ImageSources, *, version: int) -> PictureCall[Images]:
    request = images_pb2.ReconstructRequest(
        model=_model(model, version), images=_sources(images), format=_PIXELS
    )
    return PictureCall(IMAGE_SERVICE, "Reconstruct", request, _images)


@_request
def interpolate(
    model: str, first: ImageSource, last: ImageSource, *, steps: int, version: int
) -> PictureCall[Images]:
    check_whole("steps", steps, least=2, bits=32)
    request = images_pb2.InterpolateRequest(
        model=_model(model, version), first=_image(first), last=_image(last), steps=steps, format=_PIXELS
    )
    return PictureCall(IMAGE_SERVICE, "Interpolate", request, _images)


@_request
def sweep(
    model: str,
    dimensions: tuple[int, int],
    *,
    image: ImageSource | None,
    steps: int,
    low: float | None,
    high: float | None,
    version: int,
) -> PictureCall[Swept]:
    row, column = _pair(dimensions)
    check_whole("steps", steps, least=2, bits=32)
    request = images_pb2.SweepRequest(
        model=_model(model, version),
        image=None if image is None else _image(image),
        row_dimension=row,
        column_dimension=column,
        steps=steps,
        low=None if low is None else _real("low", low),
        high=None if high is None else _real("high", high),
        format=_PIXELS,
    )
    return PictureCall(IMAGE_SERVICE, "Sweep", request, _swept)


@_request
def score(model: str, images: ImageSources, *, seed: int | None, version: int) -> Call[Scores]:
    check_whole("seed", seed)
    request = images_pb2.ScoreRequest(model=_model(model, version), images=_sources(images), seed=seed)
    return Call(IMAGE_SERVICE, "Score", request, _scores)


# Jobs
@_request
def submit(
    model: str,
    *,
    count: int,
    seed: int | None,
    first_index: int,
    temperature: float,
    completion: Completion | None,
    retention_seconds: float | None,
    request_id: str | None,
    job_class: JobClass | str,
    version: int,
) -> Call[Job]:
    check_whole("count", count, least=1)
    check_whole("seed", seed)
    check_whole("first_index", first_index)
    request = jobs_pb2.SubmitRequest(
        request_id=_text("request_id", request_id or uuid4().hex),
        model=_model(model, version),
        count=count,
        seed=seed,
        first_index=first_index,
        temperature=_real("temperature", temperature),
        completion=None if completion is None else _completion(completion),
        retention=None if retention_seconds is None else _duration(retention_seconds),
        job_class=f"JOB_CLASS_{_class(job_class).name}",
    )
    return Call(JOB_SERVICE, "Submit", request, _submitted)


@_request
def get_job(job: str) -> Call[Job]:
    return Call(JOB_SERVICE, "Get", jobs_pb2.GetJobRequest(id=_text("job", job)), read_job)


@_request
def jobs_page(page_token: str, page_size: int) -> Call[tuple[list[Job], str]]:
    check_whole("page_size", page_size, bits=32)
    request = jobs_pb2.ListJobsRequest(page_size=page_size, page_token=page_token)
    return Call(
        JOB_SERVICE, "List", request, lambda reply: (list(map(read_job, reply.jobs)), reply.next_page_token)
    )


@_request
def watch(job: str, *, rows: bool) -> Call[JobEvent]:
    return Call(JOB_SERVICE, "Watch", jobs_pb2.WatchRequest(id=_text("job", job), rows=rows), read_job_event)


@_request
def results(job: str, *, start: int, limit: int) -> PictureCall[SampleResult]:
    check_whole("start", start)
    check_whole("limit", limit)
    request = jobs_pb2.ResultsRequest(id=_text("job", job), start=start, limit=limit, format=_PIXELS)
    return PictureCall(JOB_SERVICE, "Results", request, _result)


@_request
def cancel(job: str) -> Call[Job]:
    return Call(JOB_SERVICE, "Cancel", jobs_pb2.CancelJobRequest(id=_text("job", job)), read_job)


@_request
def delete(job: str) -> Call[None]:
    return Call(JOB_SERVICE, "Delete", jobs_pb2.DeleteJobRequest(id=_text("job", job)), lambda reply: None)


# Models
def models() -> Call[list[Model]]:
    request = models_pb2.ListModelsRequest()
    return Call(MODEL_SERVICE, "List", request, lambda reply: list(map(_read_model, reply.models)))


@_request
def model(name: str, *, version: int) -> Call[ModelDetails]:
    check_whole("version", version, bits=32)
    request = models_pb2.GetModelRequest(name=_text("model", name), version=version)
    return Call(MODEL_SERVICE, "Get", request, _model_details)


def left_out() -> Call[list[LeftOut]]:
    return Call(MODEL_SERVICE, "List", models_pb2.ListModelsRequest(), _left_out)


@_request
def load(name: str, *, version: int) -> Call[Model]:
    check_whole("version", version, bits=32)
    request = models_pb2.LoadModelRequest(name=_text("model", name), version=version)
    return Call(MODEL_SERVICE, "Load", request, lambda reply: _read_model(reply.model))


@_request
def unload(name: str, *, version: int) -> Call[None]:
    check_whole("version", version, bits=32)
    request = models_pb2.UnloadModelRequest(name=_text("model", name), version=version)
    return Call(MODEL_SERVICE, "Unload", request, lambda reply: None)


# Values → messages
def check_whole(field: str, value: int | None, *, least: int = 0, bits: int = 64) -> None:
    """Raise InvalidRequest, which names the field, for what is no whole number of so many bits; None is unset."""
    try:
        fits = value is None or least <= operator.index(value) < 2**bits
    except TypeError:
        fits = False
    if not fits:
        raise InvalidRequest(
            f"{field} is {_shown(value)}; it must be a whole number from {least} to 2^{bits}−1.", field=field
        )


def _real(field: str, value: Any) -> float:
    if not hasattr(value, "__float__"):  # which text has not
        raise InvalidRequest(f"{field} is {_shown(value)}; it must be a number.", field=field)
    return float(value)


def _text(field: str, value: object) -> str:
    """A name or an id; in the command line's arguments bytes that are no UTF-8 are lone surrogates."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{field} is {_shown(value)}; it must be a string.", field=field)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidRequest(f"{field} is {_shown(value)}, which is no text in UTF-8.", field=field)
    return value


def _shown(value: object) -> str:
    """A wrong value in a sentence."""
    text = ascii(value) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _model(name: str, version: int) -> types_pb2.ModelVersion:
    check_whole("version", version, bits=32)
    return types_pb2.ModelVersion(name=_text("model", name), version=version)


def _class(job_class: JobClass | str) -> JobClass:
    try:
        return JobClass(job_class)
    except ValueError as error:
        raise InvalidRequest(
            f"job_class is {_shown(job_class)}; it must be {' or '.join(JobClass)}.", field="job_class"
        ) from error


def _pair(dimensions: Any) -> tuple[int, int]:
    if not isinstance(dimensions, Iterable) or len(both := tuple(dimensions)) != 2:
        raise InvalidRequest(
            f"dimensions is {_shown(dimensions)}; it must be two numbers, such as (2, 7).", field="dimensions"
        )
    for dimension in both:
        check_whole("dimensions", dimension, bits=32)
    return both[0], both[1]


def _latents(latents: Sequence[Latent]) -> list[types_pb2.Latent]:
    try:
        return [types_pb2.Latent(values=latent) for latent in latents]
    except _UNFIT as error:
        raise InvalidRequest(
            f"latents is {_shown(latents)}; it must be a list of numbers for each image, such as encode(…).means.",
            field="latents",
        ) from error


def _duration(seconds: float) -> Duration:
    if not (seconds := _real("retention_seconds", seconds)) >= 0:
        raise InvalidRequest(
            f"retention_seconds is {seconds:g}; it must be a number from 0.", field="retention_seconds"
        )
    duration = Duration()
    duration.FromMilliseconds(round(min(seconds, _LONGEST_SECONDS) * 1000))  # the server knows its limit
    return duration


def _completion(completion: Completion) -> images_pb2.Completion:
    if not isinstance(completion, Completion):
        raise InvalidRequest(
            f"completion is {_shown(completion)}; write Completion(image=…, rows=…), or mask=… in place of rows.",
            field="completion",
        )
    if (completion.rows is None) == (completion.mask is None):
        raise InvalidRequest("Give either rows or a mask to keep.", field="completion")
    check_whole("rows", completion.rows, bits=32)
    mask = None if completion.mask is None else arrays.mask(completion.mask)
    return images_pb2.Completion(image=_image(completion.image), rows=completion.rows, mask=mask)


def listed(images: object) -> Sequence[Any]:
    """The images one by one, of one image, many, or an array of many; raises ImageRefused for what is neither."""
    if isinstance(images, Image | pillow.Image | bytes | bytearray | memoryview | str | os.PathLike):
        return [images]
    if hasattr(images, "__array__") or hasattr(images, "__array_interface__"):
        return arrays.listed(images)
    if isinstance(images, Iterable) and not hasattr(images, "read"):  # an open file is no list of its lines
        return list(images)
    raise ImageRefused(f"{arrays.WANTED_MANY}, not {type(images).__name__}.", field="images")


def _sources(images: ImageSources) -> list[types_pb2.Image]:
    return [_image(source, arrays.WANTED_MANY) for source in listed(images)]


def _image(source: ImageSource, wanted: str = arrays.WANTED) -> types_pb2.Image:
    """The PNG of an image in any form; raises ImageRefused for one that cannot be read."""
    try:
        return types_pb2.Image(png=_png(source, wanted))
    except _UNFIT as error:  # what an object says of itself may be anything
        raise ImageRefused(f"This {type(source).__name__} is no image: {error}.", field="image") from error


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


# Messages → values
def version_of(message: types_pb2.ModelVersion) -> ModelVersion:
    """The model version that a response names."""
    return ModelVersion(message.name, message.version, message.digest)


def id_of(job: JobOrId) -> str:
    """The id, where a job or its id is given."""
    return job.id if isinstance(job, Job) else job


def palette_of(found: ModelDetails, wanted: ModelVersion) -> Palette:
    """The palette of the very model that is wanted; raises ModelNotFound where another one has its version now."""
    if wanted.digest not in ("", found.model.digest):
        raise ModelNotFound(
            f"{wanted.name} version {wanted.version} was exported anew since this was drawn, and may have other "
            "colours now: put the old export back to read it."
        )
    return found.model.palette


def _read_image(message: types_pb2.Image, palette: Palette) -> Image:
    pixels = message.pixels
    return Image(height=pixels.height, width=pixels.width, indices=pixels.indices, palette=palette)


def _read_images(messages: Sequence[types_pb2.Image], palette: Palette) -> tuple[Image, ...]:
    return tuple(_read_image(message, palette) for message in messages)


def _colour_change(message: types_pb2.ColourChange) -> ColourChange:
    return ColourChange(message.moved_pixels, message.largest_distance)


def _images(reply: Any, palette: Palette) -> Images:
    change = getattr(reply, "colour_change", types_pb2.ColourChange())  # Decode is given no image
    return Images(
        model=version_of(reply.model),
        images=_read_images(reply.images, palette),
        colour_change=_colour_change(change),
    )


def _drawn(reply: images_pb2.DrawResponse, palette: Palette) -> Drawn:
    return Drawn(model=version_of(reply.model), images=_read_images(reply.images, palette), seed=reply.seed)


def _swept(reply: images_pb2.SweepResponse, palette: Palette) -> Swept:
    return Swept(
        model=version_of(reply.model),
        images=_read_images(reply.images, palette),
        colour_change=_colour_change(reply.colour_change),
        steps=reply.steps,
    )


def _encoded(reply: images_pb2.EncodeResponse) -> Encoded:
    return Encoded(
        model=version_of(reply.model),
        means=tuple(tuple(latent.values) for latent in reply.means),
        log_deviations=tuple(tuple(latent.values) for latent in reply.log_deviations),
        colour_change=_colour_change(reply.colour_change),
    )


def _scores(reply: images_pb2.ScoreResponse) -> Scores:
    return Scores(
        model=version_of(reply.model),
        kind=ScoreKind(images_pb2.ScoreKind.Name(reply.kind).removeprefix("SCORE_KIND_")),
        scores=tuple(reply.scores),
        colour_change=_colour_change(reply.colour_change),
    )


def read_draw_event(reply: images_pb2.DrawStreamResponse, palette: Palette) -> DrawEvent:
    """The event in one message of DrawStream."""
    if reply.HasField("started"):
        return _draw_started(reply.started, palette)
    if reply.HasField("rows"):
        return DrawnRows(first_row=reply.rows.first_row, indices=reply.rows.indices)
    return DrawFinished(
        image=_read_image(reply.finished.image, palette), log_probability=reply.finished.log_probability
    )


def _draw_started(started: images_pb2.DrawStarted, palette: Palette) -> DrawStarted:
    return DrawStarted(
        model=version_of(started.model),
        seed=started.seed,
        job_id=started.job_id,
        height=started.height,
        width=started.width,
        palette=palette,
        colour_change=_colour_change(started.colour_change),
    )


def _submitted(reply: jobs_pb2.SubmitResponse) -> Job:
    return read_job(reply.job, _colour_change(reply.colour_change))


def read_job(message: jobs_pb2.Job, colour_change: ColourChange = NO_CHANGE) -> Job:
    """A job as the server describes it."""
    return Job(
        id=message.id,
        model=version_of(message.model),
        state=JobState(jobs_pb2.JobState.Name(message.state).removeprefix("JOB_STATE_")),
        count=message.count,
        seed=message.seed,
        first_index=message.first_index,
        temperature=message.temperature,
        height=message.height,
        width=message.width,
        done=message.done,
        failed=message.failed,
        running=message.running,
        created=_time(message, "created"),
        started=_time(message, "started"),
        ended=_time(message, "ended"),
        expires=_time(message, "expires"),
        reason=message.reason,
        job_class=_job_class(message),
        colour_change=colour_change,
    )


def _job_class(message: jobs_pb2.Job) -> JobClass:
    interactive = message.job_class == jobs_pb2.JOB_CLASS_INTERACTIVE
    return JobClass.INTERACTIVE if interactive else JobClass.STANDARD


def _time(message: jobs_pb2.Job, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    timestamp: Timestamp = getattr(message, field)
    return timestamp.ToDatetime(UTC)


def read_job_event(reply: jobs_pb2.WatchResponse) -> JobEvent:
    """The event in one message of Watch."""
    if reply.HasField("job"):
        return read_job(reply.job)
    if reply.HasField("rows"):
        rows = reply.rows
        return SampleRows(index=rows.index, first_row=rows.first_row, indices=rows.indices)
    return SampleEnded(index=reply.ended.index, succeeded=reply.ended.succeeded)


def _result(reply: jobs_pb2.SampleResult, palette: Palette) -> SampleResult:
    return SampleResult(
        index=reply.index,
        image=_read_image(reply.image, palette) if reply.HasField("image") else None,
        log_probability=reply.log_probability,
        error=reply.error,
        fingerprint=reply.fingerprint,
    )


def _read_model(message: models_pb2.Model) -> Model:
    return Model(
        name=message.name,
        version=message.version,
        family=message.family,
        variant=message.variant,
        height=message.height,
        width=message.width,
        palette=tuple(message.palette),
        graphs=tuple(message.graphs),
        latent_size=message.latent_size,
        digest=message.digest,
        licence=message.licence,
    )


def _left_out(reply: models_pb2.ListModelsResponse) -> list[LeftOut]:
    return [LeftOut(each.place, each.reason) for each in reply.left_out]


def _model_details(reply: models_pb2.GetModelResponse) -> ModelDetails:
    return ModelDetails(model=_read_model(reply.model), manifest=json.loads(reply.manifest_json))
