"""The table of metrics, read from smalti/runtime/metrics.py."""

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from docs.pages.tables import code, table
from smalti.runtime import metrics

_PAGE = """# Metrics

`smalti/runtime/metrics.py` declares them all. The server answers `/metrics` on port 9401, a worker on 9402.
[Operations](../operations.md#metrics-and-alerts) has the alerts. A histogram has `_bucket`, `_sum` and `_count` in
Prometheus.

"""
_KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram"}


def page() -> str:
    """One line for each metric."""
    header = ("metric", "kind", "labels", "means")
    return _PAGE + table(header, (_row(metric) for metric in declared())) + "\n"


def declared() -> list[MetricWrapperBase]:
    """The metrics of smalti, in the order of the file."""
    return [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]


def name(metric: MetricWrapperBase) -> str:
    """The name that Prometheus shows."""
    return f"{_family(metric).name}{'_total' if isinstance(metric, Counter) else ''}"


def _family(metric: MetricWrapperBase) -> Metric:
    [family] = metric.describe()
    return family


def _row(metric: MetricWrapperBase) -> tuple[str, ...]:
    labels = ", ".join(code(label) for label in metric._labelnames)
    return code(name(metric)), _KINDS[type(metric)], labels, _family(metric).documentation
