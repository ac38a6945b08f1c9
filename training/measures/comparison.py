"""Turns the nats of test images into figures: units, intervals, and paired differences to counting baselines."""

import math
from collections.abc import Mapping
from typing import Any

from training.images import Groups, ImageSet
from training.measures import baselines
from training.measures.intervals import Estimate, Values, estimate


def units(nats: Estimate, pixels: int) -> dict[str, Estimate]:
    """Nats per image in the usual units."""
    return {
        "nats_per_image": nats,
        "nats_per_pixel": nats.scaled(1 / pixels),
        "bits_per_pixel": nats.scaled(1 / pixels / math.log(2)),
    }


def against(nats: Values, counted: Mapping[str, Values], groups: Groups | None) -> dict[str, Any]:
    """Each baseline's nats per image, and the paired difference model − baseline over the same images."""
    return {
        name: {
            "nats_per_image": estimate(found, groups),
            "difference": estimate(nats - found, groups),
            "verdict": estimate(nats - found, groups).verdict,
        }
        for name, found in counted.items()
    }


def likelihood_figures(
    nats: Values, images: ImageSet, counted: Mapping[str, Values], *, name: str
) -> dict[str, Any]:
    """A training's figures from the nats of every test image (images,); `name` is the name of their mean."""
    found = estimate(nats, images.test_groups)
    in_units = units(found, images.height * images.width)
    return {
        name: round(found.mean, 2),
        "test_interval_95": [round(found.low, 2), round(found.high, 2)],
        "test_nats_per_pixel": round(in_units["nats_per_pixel"].mean, 4),
        "test_bits_per_pixel": round(in_units["bits_per_pixel"].mean, 4),
        "test_images": len(nats),
        "baselines": {baseline: round(float(values.mean()), 2) for baseline, values in counted.items()},
    } | _lead(nats, images, counted)


def _lead(nats: Values, images: ImageSet, counted: Mapping[str, Values]) -> dict[str, Any]:
    if baselines.MIXTURE not in counted:
        return {}
    difference = estimate(nats - counted[baselines.MIXTURE], images.test_groups)
    return {"difference_to_mixture": difference.plain(2)}
