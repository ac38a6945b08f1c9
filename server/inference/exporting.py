"""Copies the statistics of this process into Triton's metrics, once a second: requests pay nothing for them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

from prometheus_client import Gauge

from server.inference.naming import ProtocolModel, ProtocolModels
from server.inference.statistics import statistics_of
from server.oneshot.statistics import FailureReason, GraphStatistics
from smalti.runtime.metrics import (
    NV_COMPUTE_INFER_US,
    NV_COMPUTE_INPUT_US,
    NV_COMPUTE_OUTPUT_US,
    NV_COUNT,
    NV_EXEC_COUNT,
    NV_FAILURE,
    NV_PENDING,
    NV_QUEUE_US,
    NV_REQUEST_US,
    NV_SUCCESS,
)

_COPY_SECONDS = 1.0  # Prometheus asks less often
_VALUES: dict[Gauge, Callable[[GraphStatistics], float]] = {
    NV_SUCCESS: lambda counted: counted.success.count,
    NV_COUNT: lambda counted: counted.inference_count,
    NV_EXEC_COUNT: lambda counted: counted.execution_count,
    NV_REQUEST_US: lambda counted: counted.success.nanoseconds // 1000,
    NV_QUEUE_US: lambda counted: counted.queue.nanoseconds // 1000,
    NV_COMPUTE_INPUT_US: lambda counted: counted.compute_input.nanoseconds // 1000,
    NV_COMPUTE_INFER_US: lambda counted: counted.compute_infer.nanoseconds // 1000,
    NV_COMPUTE_OUTPUT_US: lambda counted: counted.compute_output.nanoseconds // 1000,
}


@dataclass(slots=True)
class _Exported:
    """A name and a version, as long as the process runs: metrics only grow, however often it is loaded again."""

    counting: GraphStatistics  # since it was loaded the last time
    counted: GraphStatistics = field(default_factory=GraphStatistics)  # before that

    def count_in(self, statistics: GraphStatistics) -> None:
        if statistics is not self.counting:
            self.counted.join(self.counting)
            self.counting = statistics

    def total(self) -> GraphStatistics:
        total = GraphStatistics()
        total.join(self.counted)
        total.join(self.counting)
        return total


class Exporting:
    """Remembers every model that was served, because what it counted stays in the metrics."""

    def __init__(self, models: ProtocolModels) -> None:
        self._models = models
        self._exported: dict[tuple[str, str], _Exported] = {}

    async def run(self) -> None:
        """Copy until cancelled."""
        while True:
            self.copy()
            await asyncio.sleep(_COPY_SECONDS)

    def copy(self) -> None:
        """Copy what has been counted until now."""
        waiting = {(model.name, model.version): _waiting(model) for model in self._served()}
        for labels, exported in self._exported.items():
            NV_PENDING.labels(*labels).set(waiting.get(labels, 0))
            _export(labels, exported.total())

    def _served(self) -> list[ProtocolModel]:
        models = list(self._models.all())
        for model in models:
            statistics = statistics_of(model)
            self._exported.setdefault((model.name, model.version), _Exported(statistics)).count_in(statistics)
        return models


def _waiting(model: ProtocolModel) -> int:
    return 0 if model.is_decoupled else model.served.waiting(model.graph)


def _export(labels: tuple[str, str], total: GraphStatistics) -> None:
    for gauge, value in _VALUES.items():
        gauge.labels(*labels).set(value(total))
    for reason in get_args(FailureReason):
        NV_FAILURE.labels(*labels, reason).set(total.failures.get(reason, 0))
