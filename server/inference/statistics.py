"""Answers ModelStatistics: what every model has done since it was loaded, summed over the processes of the server."""

from collections import defaultdict
from typing import Any

from pydantic import TypeAdapter

from server.inference import protocol
from server.inference.naming import ProtocolModel, ProtocolModels
from server.oneshot.statistics import Duration, GraphStatistics, RunStatistics
from server.siblings import Siblings

_json = TypeAdapter(GraphStatistics)
_NOTHING = Duration()  # nothing is answered from a cache


def statistics_of(model: ProtocolModel) -> GraphStatistics:
    """What this process has counted for a model."""
    return model.served.drawing if model.is_decoupled else model.served.statistics(model.graph)


class Statistics:
    """The statistics of all models in all processes."""

    def __init__(self, models: ProtocolModels, siblings: Siblings) -> None:
        self._models = models
        self._siblings = siblings
        siblings.answer("protocol.statistics", self._own)

    async def answer(self, request: Any) -> Any:
        """Those of a version, of all versions of a name, or of all models; raises as ProtocolModels.get does."""
        if request.name:
            self._models.get(request.name, request.version)
        found = await self._gather(request.name, request.version)
        return protocol.ModelStatisticsResponse(
            model_stats=[_message(*model, found[model]) for model in sorted(found, key=_place)]
        )

    async def _gather(self, name: str, version: str) -> dict[tuple[str, str], GraphStatistics]:
        """By name and version."""
        found: defaultdict[tuple[str, str], GraphStatistics] = defaultdict(GraphStatistics)
        for answer in await self._siblings.gather("protocol.statistics", [name, version]):
            for model_name, model_version, counted in answer:
                found[model_name, model_version].join(_json.validate_python(counted))
        return found

    async def _own(self, argument: tuple[str, str]) -> list[tuple[str, str, Any]]:
        name, version = argument
        return [
            (model.name, model.version, _json.dump_python(statistics_of(model), mode="json"))
            for model in self._models.all()
            if not name or (model.name == name and version in ("", model.version))
        ]


def _place(model: tuple[str, str]) -> tuple[str, int]:
    name, version = model
    return name, int(version)


def _message(name: str, version: str, counted: GraphStatistics) -> Any:
    return protocol.ModelStatistics(
        name=name,
        version=version,
        last_inference=counted.last_inference_ms,
        inference_count=counted.inference_count,
        execution_count=counted.execution_count,
        inference_stats=protocol.InferStatistics(
            success=_duration(counted.success),
            fail=_duration(counted.fail),
            queue=_duration(counted.queue),
            compute_input=_duration(counted.compute_input),
            compute_infer=_duration(counted.compute_infer),
            compute_output=_duration(counted.compute_output),
            cache_hit=_duration(_NOTHING),
            cache_miss=_duration(_NOTHING),
        ),
        batch_stats=[_batch(entries, runs) for entries, runs in sorted(counted.batches.items())],
        response_stats={str(place): _response(duration) for place, duration in counted.responses.items()},
    )


def _batch(entries: int, runs: RunStatistics) -> Any:
    return protocol.InferBatchStatistics(
        batch_size=entries,
        compute_input=_duration(runs.compute_input),
        compute_infer=_duration(runs.compute_infer),
        compute_output=_duration(runs.compute_output),
    )


def _response(duration: Duration) -> Any:
    return protocol.InferResponseStatistics(compute_infer=_duration(duration), success=_duration(duration))


def _duration(duration: Duration) -> Any:
    return protocol.StatisticDuration(count=duration.count, ns=duration.nanoseconds)
