"""A server that measures nothing: `python -m benchmarks.without_metrics`, for benchmarks.metrics_cost."""

from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from smalti.runtime import metrics


class Nothing:
    """Stands for a metric, and does nothing."""

    def labels(self, *values: str) -> "Nothing":
        """Itself."""
        return self

    def observe(self, value: float = 1) -> None:
        """Forget it."""

    inc = dec = set = observe


def forget(*arguments: Any, **values: Any) -> None:
    """Stands for a method that counts."""


def main() -> None:
    """Serve, with Nothing in place of every metric, and without statistics."""
    for name, value in list(vars(metrics).items()):
        if isinstance(value, MetricWrapperBase):
            setattr(metrics, name, Nothing())
    from server.__main__ import (
        main as serve,
    )  # only now, because modules take the metrics when they are imported
    from server.oneshot.statistics import GraphStatistics

    for method in ("add_run", "add_success", "add_failure"):
        setattr(GraphStatistics, method, forget)
    serve(prog_name="python -m benchmarks.without_metrics")


if __name__ == "__main__":
    main()
