"""Checks the values of requests before anything is allocated for them."""

import re
from dataclasses import dataclass
from math import isfinite

from google.protobuf.duration_pb2 import Duration

from server.webhooks.targets import NO_TARGETS, Targets
from smalti.errors import InvalidRequest
from smalti.jobs.administration import MOST_DEAD
from smalti.jobs.job import TEMPERATURE_RANGE, JobClass
from smalti.pixels import bytes_per_pixel
from smalti.printable import printable
from smalti.randomness import MAX_SEED
from smalti.runtime.manifest import Manifest
from smalti.runtime.names import CLIENT_NAME
from smalti.v1 import jobs_pb2, types_pb2

DEFAULT_STEPS = 8
LONGEST_REQUEST_ID = 128
LARGEST_PAGE = 500
DEFAULT_PAGE = 50
LONGEST_DEADLINE_SECONDS = 3650 * 86400
_CLASSES = {
    jobs_pb2.JOB_CLASS_UNSPECIFIED: JobClass.STANDARD,
    jobs_pb2.JOB_CLASS_INTERACTIVE: JobClass.INTERACTIVE,
    jobs_pb2.JOB_CLASS_STANDARD: JobClass.STANDARD,
    jobs_pb2.JOB_CLASS_BATCH: JobClass.BATCH,
}
_FORMATS = {
    types_pb2.IMAGE_FORMAT_UNSPECIFIED: types_pb2.IMAGE_FORMAT_PNG,
    types_pb2.IMAGE_FORMAT_PNG: types_pb2.IMAGE_FORMAT_PNG,
    types_pb2.IMAGE_FORMAT_PIXELS: types_pb2.IMAGE_FORMAT_PIXELS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """How much one request may ask for."""

    images: int = 256
    response_bytes: int = 16 * 1024 * 1024  # bytes of pixels in one response
    retention_seconds: float = 7 * 86400.0
    default_retention_seconds: float = 86400.0
    webhooks: Targets = NO_TARGETS


def check_images(count: int, manifest: Manifest, limits: RequestLimits, *, field: str) -> int:
    """The count of images in one request to the model; raises InvalidRequest if it is 0 or too large."""
    image_bytes = manifest.height * manifest.width * bytes_per_pixel(len(manifest.palette))
    fitting = limits.response_bytes // image_bytes
    most = max(1, min(limits.images, fitting))
    if not 1 <= count <= most:
        advice = _advice(field, can_raise=limits.images < fitting) if count > most else ""
        raise InvalidRequest(
            f"A request to {manifest.name} has 1 to {most} images, not {count}{advice}.", field=field
        )
    return count


def _advice(field: str, *, can_raise: bool) -> str:
    """What to do about more images than one request may have."""
    usual = "send several requests"
    instead = {"count": f"{usual} with different first indices", "steps": "take fewer steps"}.get(
        field, usual
    )
    return f": {instead}{', or raise SMALTI_MAX_IMAGES of the server' if can_raise else ''}"


def check_indices(first_index: int, count: int) -> None:
    """Raise InvalidRequest where an index is beyond the last one of a seed."""
    if first_index + count - 1 > MAX_SEED:
        raise InvalidRequest("first_index + count is more than 2^64.", field="first_index")


def temperature_of(value: float) -> float:
    """The temperature, by default 1; raises InvalidRequest."""
    low, high = TEMPERATURE_RANGE
    if value == 0:
        return 1.0
    # Rounded, because the limits as 32-bit floats differ a little from the limits. NaN fails this comparison too.
    if not low <= round(value, 6) <= high:
        raise InvalidRequest(f"The temperature is {low} to {high:g}, not {value:g}.", field="temperature")
    return value


def steps_of(value: int) -> int:
    """How many steps, both ends included, by default 8; raises InvalidRequest."""
    if value == 1:
        raise InvalidRequest("There are at least 2 steps, one for each end.", field="steps")
    return value or DEFAULT_STEPS


def span_of(low: float, high: float) -> tuple[float, float]:
    """The lowest and the highest value of a sweep; raises InvalidRequest."""
    if not (isfinite(low) and isfinite(high) and low < high):
        raise InvalidRequest(
            f"A sweep goes from low to a larger high, not from {low:g} to {high:g}.", field="low"
        )
    return low, high


def dimensions_of(row: int, column: int, manifest: Manifest) -> tuple[int, int]:
    """Two different dimensions of the model's latents; raises InvalidRequest."""
    size = manifest.latent_size
    for field, dimension in (("row_dimension", row), ("column_dimension", column)):
        if dimension >= size:
            raise InvalidRequest(
                f"{manifest.name} has latent dimensions 0 to {size - 1}, not {dimension}.", field=field
            )
    if row == column:
        raise InvalidRequest("A sweep needs two different dimensions.", field="column_dimension")
    return row, column


def retention_of(duration: Duration | None, limits: RequestLimits) -> float:
    """How many seconds results are kept; raises InvalidRequest."""
    if duration is None:
        return limits.default_retention_seconds
    seconds = _seconds_of(duration, field="retention")
    if not 0 <= seconds <= limits.retention_seconds:
        raise InvalidRequest(
            f"Results are kept for 0 to {limits.retention_seconds:.15g} s, and no longer.",
            field="retention",
        )
    return seconds or limits.default_retention_seconds


def deadline_of(duration: Duration | None) -> float:
    """How many seconds after its submit a job must have ended, 0 if it has time; raises InvalidRequest."""
    if duration is None:
        return 0.0
    seconds = _seconds_of(duration, field="deadline")
    if not 0.001 <= seconds <= LONGEST_DEADLINE_SECONDS:
        raise InvalidRequest(
            f"A deadline is 0.001 to {LONGEST_DEADLINE_SECONDS} s (ten years) after the submit, not {seconds:g} s.",
            field="deadline",
        )
    return seconds


def _seconds_of(duration: Duration, *, field: str) -> float:
    if abs(duration.nanos) >= 10**9 or duration.seconds * duration.nanos < 0:
        raise InvalidRequest(
            f"The {field} is no valid Duration: nanos are -999,999,999 to 999,999,999, with the sign of seconds.",
            field=field,
        )
    return duration.seconds + duration.nanos * 1e-9


def request_id_of(value: str) -> str:
    """The request_id, which may not be too long; raises InvalidRequest."""
    if len(value) > LONGEST_REQUEST_ID:
        raise InvalidRequest(f"A request_id has at most {LONGEST_REQUEST_ID} characters.", field="request_id")
    return value


def client_name_of(value: str) -> str:
    """The name of a client; raises InvalidRequest for what cannot be one."""
    if not re.fullmatch(CLIENT_NAME, value):
        raise InvalidRequest(
            f"'{printable(value, longest=80)}' cannot be the name of a client: it must begin with an ASCII letter or "
            "digit and go on with those and . _ -, up to 64.",
            field="client",
        )
    return value


def job_class_of(value: jobs_pb2.JobClass) -> JobClass:
    """The class, by default standard; raises InvalidRequest for a value that the contract does not have."""
    if value not in _CLASSES:
        raise InvalidRequest(
            f"There is no job class {value}; use JOB_CLASS_INTERACTIVE (1), JOB_CLASS_STANDARD (2) "
            "or JOB_CLASS_BATCH (3).",
            field="job_class",
        )
    return _CLASSES[value]


def image_format_of(value: types_pb2.ImageFormat) -> types_pb2.ImageFormat:
    """The format, by default PNG; raises InvalidRequest for a value that the contract does not have."""
    if value not in _FORMATS:
        raise InvalidRequest(
            f"There is no image format {value}; use IMAGE_FORMAT_PNG (1) or IMAGE_FORMAT_PIXELS (2).",
            field="format",
        )
    return _FORMATS[value]


def dead_limit_of(value: int) -> int:
    """How many failed samples a list has, by default 50; raises InvalidRequest."""
    if value > MOST_DEAD:
        raise InvalidRequest(f"A list has at most {MOST_DEAD} failed samples, not {value}.", field="limit")
    return value or DEFAULT_PAGE


def page_size_of(value: int) -> int:
    """How many jobs a page has, by default 50; raises InvalidRequest."""
    if value > LARGEST_PAGE:
        raise InvalidRequest(f"A page has at most {LARGEST_PAGE} jobs, not {value}.", field="page_size")
    return value or DEFAULT_PAGE
