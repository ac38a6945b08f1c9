"""Means with 95 % intervals that allow for images which are variants of one another."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.images import Groups

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over images, and an interval that contains the true mean in 95 of 100 such measurements."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """For a difference of costs, 'model − other': better or worse if the interval excludes zero."""
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "undecided"

    def plain(self, digits: int) -> dict[str, Any]:
        """The values for JSON; the interval is null if there is only one group."""
        bounds = (self.low, self.high)
        interval = [round(bound, digits) for bound in bounds] if np.isfinite(bounds).all() else None
        return {"mean": round(self.mean, digits), "interval_95": interval}

    def scaled(self, factor: float) -> "Estimate":
        """The same estimate in another unit."""
        return Estimate(self.mean * factor, self.low * factor, self.high * factor)


def estimate(values: Values, groups: Groups | None = None) -> Estimate:
    """The mean of values (images,) and its interval by Student's distribution over the groups.

    Images of one group are not independent, so the variance is that of the groups' sums (Liang and Zeger, Biometrika
    1986). Without groups, every image is its own group.
    """
    return around(float(values.mean()), variance_of_mean(values, groups), _count(values, groups))


def variance_of_mean(values: Values, groups: Groups | None = None) -> float:
    """The squared standard error of the mean of values (images,); infinite if there is only one group."""
    sums = values - values.mean()
    if groups is not None:
        _, members = np.unique(groups, return_inverse=True)
        sums = np.bincount(members, weights=sums)
    count = len(sums)
    return float((sums**2).sum()) * count / (count - 1) / len(values) ** 2 if count > 1 else math.inf


def around(mean: float, variance: float, groups: int) -> Estimate:
    """The interval around a mean whose variance was estimated from `groups` independent groups."""
    from scipy.special import stdtrit  # comes with scikit-learn; slow to import

    half = float(stdtrit(groups - 1, 0.975)) * math.sqrt(variance) if groups > 1 else math.inf
    return Estimate(mean, mean - half, mean + half)


def _count(values: Values, groups: Groups | None) -> int:
    return len(values) if groups is None else len(np.unique(groups))


def plain(figures: Any, digits: int = 4) -> Any:
    """Figures in JSON's types: every number is rounded, every Estimate becomes its mean and interval."""
    if isinstance(figures, Estimate):
        return figures.plain(digits)
    if isinstance(figures, dict):
        return {name: plain(value, digits) for name, value in figures.items()}
    if isinstance(figures, list):
        return [plain(value, digits) for value in figures]
    return round(figures, digits) if isinstance(figures, float) else figures
