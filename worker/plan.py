"""Checks a claimed sample and prepares its numbers, so that a bad one fails alone instead of spoiling a batch."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import SampleFailed
from smalti.jobs.job import TEMPERATURE_RANGE, Claim, JobRequest
from smalti.pixels import number_type
from smalti.randomness import MAX_SEED, uniforms
from smalti.runtime.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers that decide a sample's pixels, for each position."""

    uniform: NDArray[np.float32]  # (rows, columns), in (0, 1]
    forced: NDArray[np.int64]  # (rows, columns), −1 where a pixel is drawn
    temperature: float
    pixel_type: np.dtype[Any]  # of a pixel in Redis


def plan(claim: Claim, manifest: Manifest) -> Plan:
    """The sample's numbers; raises SampleFailed with one sentence if this model cannot draw it."""
    request = claim.request
    _check_grid(request, manifest)
    _check_temperature(request.temperature)
    pixel_type = np.dtype(number_type(request.colours))
    forced = _forced(request)
    committed = _committed_rows(claim, pixel_type)
    forced[: len(committed)] = committed
    return Plan(_uniforms(claim), forced, request.temperature, pixel_type)


def _check_grid(request: JobRequest, manifest: Manifest) -> None:
    asked = (request.rows, request.columns, request.colours)
    drawn = (manifest.height, manifest.width, len(manifest.palette))
    if asked != drawn:
        raise SampleFailed(
            "The job asks for {}×{} pixels of {} colours, but the model draws {}×{} of {}.".format(
                *asked, *drawn
            )
        )


def _check_temperature(temperature: float) -> None:
    lowest, highest = TEMPERATURE_RANGE
    if not (isfinite(temperature) and lowest <= temperature <= highest):
        raise SampleFailed(f"The temperature {temperature} is not between {lowest} and {highest}.")


def _forced(request: JobRequest) -> NDArray[np.int64]:
    """The kept pixels: (rows, columns) int64, −1 where a pixel is drawn."""
    grid = (request.rows, request.columns)
    if not request.kept:
        return np.full(grid, -1, dtype=np.int64)
    if len(request.kept) != 4 * request.rows * request.columns:
        raise SampleFailed(f"The kept pixels are not {request.rows}×{request.columns} numbers of four bytes.")
    forced = np.frombuffer(request.kept, dtype="<i4").astype(np.int64).reshape(grid)
    if forced.min() < -1 or forced.max() >= request.colours:
        raise SampleFailed(f"A kept pixel is not a colour of the palette (0 to {request.colours - 1}).")
    return forced


def _committed_rows(claim: Claim, pixel_type: np.dtype[Any]) -> NDArray[np.int64]:
    """The rows that were committed before this claim: (rows, columns) int64."""
    request = claim.request
    if len(claim.pixels) % request.row_bytes or len(claim.pixels) > request.rows * request.row_bytes:
        raise SampleFailed(f"The {len(claim.pixels)} bytes drawn so far are not whole rows of this image.")
    committed = np.frombuffer(claim.pixels, dtype=pixel_type).astype(np.int64)
    if committed.max(initial=0) >= request.colours:
        raise SampleFailed("A pixel drawn so far is not a colour of the palette.")
    return committed.reshape(-1, request.columns)


def _uniforms(claim: Claim) -> NDArray[np.float32]:
    request, number = claim.request, claim.request.first_index + claim.index
    if not (0 <= request.seed <= MAX_SEED and 0 <= number <= MAX_SEED):
        raise SampleFailed(f"Seed {request.seed} and image {number} must be between 0 and 2^64 − 1.")
    pixels = request.rows * request.columns
    return uniforms(request.seed, number, 0, pixels).reshape(request.rows, request.columns)
