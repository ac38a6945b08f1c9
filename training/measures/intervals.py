"""Means with their 95 % interval, honest about images that are variants of one another."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.images import Groups

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over images, and the interval that holds the true one in 95 of 100 such measurements."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Of a difference 'model − other' in a cost: whether the interval excludes zero, and on which side."""
        if self.high < 0:
            return "better"
        return "worse" if self.low > 0 else "undecided"

    def plain(self, digits: int) -> dict[str, Any]:
        """For JSON; an interval that a single group cannot give is null."""
        bounds = (self.low, self.high)
        interval = [round(bound, digits) for bound in bounds] if np.isfinite(bounds).all() else None
        return {"mean": round(self.mean, digits), "interval_95": interval}

    def scaled(self, factor: float) -> "Estimate":
        """The same in another unit."""
        return Estimate(self.mean * factor, self.low * factor, self.high * factor)


def estimate(values: Values, groups: Groups | None = None) -> Estimate:
    """The mean of values (images,), its interval by Student's distribution over the groups.

    Images of one group are not independent, so what varies are the groups' sums (Liang and Zeger, Biometrika 1986);
    without groups every image is one of its own.
    """
    return around(float(values.mean()), variance_of_mean(values, groups), _count(values, groups))


def variance_of_mean(values: Values, groups: Groups | None = None) -> float:
    """The squared standard error of the mean of values (images,); infinite where there is but one group."""
    sums = values - values.mean()
    if groups is not None:
        _, members = np.unique(groups, return_inverse=True)
        sums = np.bincount(members, weights=sums)
    count = len(sums)
    return float((sums**2).sum()) * count / (count - 1) / len(values) ** 2 if count > 1 else math.inf


def around(mean: float, variance: float, groups: int) -> Estimate:
    """The interval about a mean whose variance was estimated from so many independent groups."""
    from scipy.special import stdtrit  # comes with scikit-learn; slow to import

    half = float(stdtrit(groups - 1, 0.975)) * math.sqrt(variance) if groups > 1 else math.inf
    return Estimate(mean, mean - half, mean + half)


def _count(values: Values, groups: Groups | None) -> int:
    return len(values) if groups is None else len(np.unique(groups))


def plain(figures: Any, digits: int = 4) -> Any:
    """Figures in JSON's types: every number rounded, every Estimate as its mean and interval."""
    if isinstance(figures, Estimate):
        return figures.plain(digits)
    if isinstance(figures, dict):
        return {name: plain(value, digits) for name, value in figures.items()}
    if isinstance(figures, list):
        return [plain(value, digits) for value in figures]
    return round(figures, digits) if isinstance(figures, float) else figures
