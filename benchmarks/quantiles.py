"""What part of the requests took no longer: the quantiles of all benchmarks."""

from collections.abc import Sequence


def milliseconds(seconds: Sequence[float], part: float) -> float:
    """A quantile of times, such as 0.99 of them; not a number if there are none."""
    return 1000 * sorted(seconds)[int(part * len(seconds))] if seconds else float("nan")
