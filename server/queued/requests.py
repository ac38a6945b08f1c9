"""Makes a JobRequest from a client's request: checks every value, and chooses those that the client left out."""

import secrets
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from server.messages import checks
from server.messages.checks import RequestLimits
from server.messages.notes import notes_of
from server.oneshot.catalogue import ServedModel
from server.oneshot.pictures import Pictures
from server.request_ids import request_id
from smalti.errors import GraphNotServed, InvalidRequest
from smalti.jobs.job import NO_NOTES, JobClass, JobRequest, Notes, Origin
from smalti.runtime import tracing
from smalti.v1 import images_pb2, jobs_pb2, types_pb2

STREAMED_RETENTION_SECONDS = 60.0  # time to send the image; the server then deletes the job itself


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request for the queue, and how far the colours of its kept pixels had to move."""

    request: JobRequest
    colour_change: types_pb2.ColourChange


def origin() -> Origin:
    """The RPC that this task answers, as the origin of a job."""
    return Origin(rpc_id=request_id(), traceparent=tracing.current().traceparent)


async def prepare_job(
    model: ServedModel,
    message: jobs_pb2.SubmitRequest,
    limits: RequestLimits,
    pictures: Pictures,
    *,
    deadline: float | None = None,
) -> Prepared:
    """The job that Submit asks for. Raises InvalidRequest, GraphNotServed, PicturesFull or DeadlinePassed.

    A message with a request_id gives the same job each time.
    """
    submission = checks.request_id_of(message.request_id)
    count = message.count or 1
    checks.check_indices(message.first_index, count)
    retention = message.retention if message.HasField("retention") else None
    until = message.deadline if message.HasField("deadline") else None
    return await _prepare(
        model,
        message,
        pictures,
        deadline,
        count=count,
        seed=message.seed if message.HasField("seed") else choose_seed(submission),
        first_index=message.first_index,
        retention_seconds=checks.retention_of(retention, limits),
        job_class=checks.job_class_of(message.job_class),
        deadline_seconds=checks.deadline_of(until),
        notes=notes_of(message, limits.webhooks),
    )


def job_of(first: jobs_pb2.SubmitCompletionsRequest) -> jobs_pb2.SubmitRequest:
    """The job that the first message of SubmitCompletions describes; its pictures are still to come.

    Raises InvalidRequest.
    """
    if first.WhichOneof("content") != "job":
        raise InvalidRequest("The first message describes the job (job).", field="content")
    if not first.job.count:
        raise InvalidRequest("Say how many pictures will come (count).", field="job.count")
    if first.job.HasField("completion"):
        raise InvalidRequest("The pictures come in the messages after the first.", field="job.completion")
    return first.job


async def prepare_stream(
    model: ServedModel,
    message: images_pb2.DrawStreamRequest,
    pictures: Pictures,
    *,
    deadline: float | None = None,
) -> Prepared:
    """The job behind DrawStream: one interactive sample. Raises what `prepare_job` does."""
    return await _prepare(
        model,
        message,
        pictures,
        deadline,
        count=1,
        seed=message.seed if message.HasField("seed") else choose_seed(""),
        first_index=message.index,
        retention_seconds=STREAMED_RETENTION_SECONDS,
        job_class=JobClass.INTERACTIVE,
    )


def choose_seed(request_id: str) -> int:
    """A seed for a request without one: derived from its request_id, so that a second try is the same; else random."""
    if not request_id:
        return secrets.randbits(64)
    return int.from_bytes(sha256(b"seed of " + request_id.encode()).digest()[:8])


async def _prepare(
    model: ServedModel,
    message: jobs_pb2.SubmitRequest | images_pb2.DrawStreamRequest,
    pictures: Pictures,
    deadline: float | None,
    *,
    count: int,
    seed: int,
    first_index: int,
    retention_seconds: float,
    job_class: JobClass,
    deadline_seconds: float = 0.0,
    notes: Notes = NO_NOTES,
) -> Prepared:
    manifest = model.manifest
    _require_drawable(model)
    temperature = checks.temperature_of(message.temperature)
    kept, change = await _kept_pixels(model, message, pictures, deadline)
    request = JobRequest(
        model=manifest.name,
        version=manifest.version,
        digest=model.digest,
        rows=manifest.height,
        columns=manifest.width,
        colours=len(manifest.palette),
        count=count,
        seed=seed,
        first_index=first_index,
        temperature=temperature,
        kept=kept,
        retention_seconds=retention_seconds,
        job_class=job_class,
        deadline_seconds=deadline_seconds,
        notes=notes,
    )
    return Prepared(request, change)


def _require_drawable(model: ServedModel) -> None:
    if not model.manifest.draws_rows:
        raise GraphNotServed(
            f"{model.manifest.name} is {model.manifest.kind}: it draws at once (Draw) "
            "and cannot be drawn row by row in a job."
        )


async def _kept_pixels(
    model: ServedModel,
    message: jobs_pb2.SubmitRequest | images_pb2.DrawStreamRequest,
    pictures: Pictures,
    deadline: float | None,
) -> tuple[bytes, types_pb2.ColourChange]:
    """The kept pixels in the form of JobRequest.kept; empty for a request without a completion."""
    if not message.HasField("completion"):
        return b"", types_pb2.ColourChange()
    completion = message.completion
    keep = kept_mask(model, completion)
    with pictures.admit(
        model, given=[completion.image], fields=("completion.image",), deadline=deadline
    ) as work:
        given = await work.read()
    kept = np.where(keep, given.pixels[0], -1).astype("<i4")
    return kept.tobytes(), given.colour_change


def kept_mask(model: ServedModel, completion: images_pb2.Completion) -> NDArray[np.bool_]:
    """Which pixels (height, width) are kept; raises InvalidRequest."""
    height, width = model.manifest.height, model.manifest.width
    match completion.WhichOneof("keep"):
        case "rows":
            return np.broadcast_to(_first_rows(completion.rows, height), (height, width))
        case "mask":
            return _mask(completion.mask, height, width)
        case _:
            raise InvalidRequest("Say what to keep of the image: rows or a mask.", field="completion.keep")


def _first_rows(rows: int, height: int) -> NDArray[np.bool_]:
    if rows > height:
        raise InvalidRequest(f"The image has {height} rows, not {rows}.", field="completion.rows")
    return np.arange(height)[:, None] < rows


def _mask(mask: bytes, height: int, width: int) -> NDArray[np.bool_]:
    if len(mask) != height * width:
        raise InvalidRequest(
            f"The mask has {len(mask)} bytes, the image {height * width} pixels.", field="completion.mask"
        )
    values = np.frombuffer(mask, dtype=np.uint8)
    if values.max() > 1:
        raise InvalidRequest("A byte of the mask is 1 (keep) or 0 (draw).", field="completion.mask")
    return values.astype(bool).reshape(height, width)
