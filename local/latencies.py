"""Reads latencies from the histograms of a /metrics page, as Prometheus would."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.request import ProxyHandler, build_opener

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One histogram of seconds, named by its metric and labels."""

    metric: str
    labels: tuple[tuple[str, str], ...]
    buckets: tuple[tuple[float, float], ...]  # upper bound and cumulative count, ascending, the last one +Inf

    @property
    def count(self) -> int:
        """How many observations there are."""
        return int(self.buckets[-1][1])

    def quantile(self, share: float) -> float:
        """Seconds, interpolated within the bucket as Prometheus' histogram_quantile does.

        The last bucket has no upper bound; there the result is its lower bound.
        """
        rank, lower, below = share * self.buckets[-1][1], 0.0, 0.0
        for upper, cumulative in self.buckets[:-1]:
            if cumulative >= rank and cumulative > below:
                return lower + (upper - lower) * (rank - below) / (cumulative - below)
            lower, below = upper, cumulative
        return lower


def page_of(url: str) -> str:
    """The text of a /metrics page, read without a proxy; raises OSError."""
    with build_opener(ProxyHandler({})).open(url, timeout=5) as response:
        return str(response.read().decode())


def read(url: str, metrics: Sequence[str]) -> list[Latency]:
    """The histograms of these metrics that have observations, in the order of the names."""
    return parse(page_of(url), metrics)


def parse(page: str, metrics: Sequence[str]) -> list[Latency]:
    """The same from the text of the page."""
    families = {family.name: family for family in text_string_to_metric_families(page)}
    found = (latency for name in metrics if name in families for latency in _histograms(families[name]))
    return [latency for latency in found if latency.count]


def merge(latencies: Iterable[Latency]) -> list[Latency]:
    """Add up histograms of the same metric and labels, such as those of several workers."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[Latency]] = defaultdict(list)
    for latency in latencies:
        groups[latency.metric, latency.labels].append(latency)
    return [_sum(group) for group in groups.values()]


def _sum(group: Sequence[Latency]) -> Latency:
    same_bounds = zip(*(latency.buckets for latency in group), strict=True)
    buckets = tuple((each[0][0], sum(count for _, count in each)) for each in same_bounds)
    return Latency(metric=group[0].metric, labels=group[0].labels, buckets=buckets)


def _histograms(family: Metric) -> list[Latency]:
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = defaultdict(list)
    for sample in family.samples:
        if sample.name == f"{family.name}_bucket":
            labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
            buckets[labels].append((float(sample.labels["le"]), sample.value))
    return [
        Latency(metric=family.name, labels=labels, buckets=tuple(sorted(pairs)))
        for labels, pairs in buckets.items()
    ]
