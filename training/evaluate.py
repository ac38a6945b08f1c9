"""Test figures: likelihoods with their interval, beside the counting baselines."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data import ImageSet

_NORMAL_95 = 1.959964  # standard deviations on either side that hold 95 % of a normal distribution


def likelihood_figures(
    nats: NDArray[np.float64], images: ImageSet, baselines: dict[str, float], *, name: str
) -> dict[str, Any]:
    """Figures of the nats of every test image (images,): their mean under `name`, its interval, other units."""
    mean = float(nats.mean())
    per_pixel = mean / (images.height * images.width)
    return {
        name: round(mean, 2),
        "test_interval_95": [round(bound, 2) for bound in interval_95(nats)],
        "test_nats_per_pixel": round(per_pixel, 4),
        "test_bits_per_pixel": round(per_pixel / math.log(2), 4),
        "test_images": len(nats),
        "baselines": {baseline: round(value, 2) for baseline, value in baselines.items()},
    }


def interval_95(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % confidence interval of the mean, by the normal approximation."""
    half = _NORMAL_95 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return float(values.mean()) - half, float(values.mean()) + half
