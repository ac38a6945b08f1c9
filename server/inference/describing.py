"""Writes what clients ask about a model: its metadata and its configuration."""

from collections.abc import Iterable
from typing import Any

from server.inference import protocol
from server.inference.naming import ProtocolModel
from server.inference.signatures import ModelKind, TensorKind
from smalti.runtime.batching import Batching, QueuePolicy

_PLATFORM, _BACKEND = "onnxruntime_onnx", "onnxruntime"
_ACTIONS = {
    "reject": protocol.ModelQueuePolicy.TimeoutAction.Value("REJECT"),
    "delay": protocol.ModelQueuePolicy.TimeoutAction.Value("DELAY"),
}


def metadata_of(model: ProtocolModel, versions: Iterable[str]) -> Any:
    """The metadata of a model that is served in these versions."""
    return protocol.ModelMetadataResponse(
        name=model.name,
        versions=versions,
        platform=_PLATFORM,
        inputs=[_tensor(each) for each in model.kind.inputs.values()],
        outputs=[_tensor(each) for each in model.kind.outputs.values()],
    )


def config_of(model: ProtocolModel) -> Any:
    """The configuration of a model, as Triton would complete it."""
    if model.is_decoupled:
        return protocol.ModelConfigResponse(config=_config(model, max_batch_size=0))
    batching = model.served.batching(model.graph)
    config = _config(model, max_batch_size=batching.max_batch_size if model.kind.is_batched else 0)
    config.default_model_filename = model.served.manifest.graph(model.graph).file
    config.instance_group.add(name=model.name, count=batching.instances)
    if model.kind.is_batched:
        config.dynamic_batching.CopyFrom(_batching(batching))
    return protocol.ModelConfigResponse(config=config)


def _tensor(kind: TensorKind) -> Any:
    return protocol.ModelMetadataResponse.TensorMetadata(
        name=kind.name, datatype=kind.datatype.name, shape=kind.shape
    )


def _config(model: ProtocolModel, *, max_batch_size: int) -> Any:
    kind = model.kind
    return protocol.ModelConfig(
        name=model.name,
        platform=_PLATFORM,
        backend=_BACKEND,
        version_policy={"all": {}},
        max_batch_size=max_batch_size,
        input=[{**_configured(kind, each), "optional": each.is_optional} for each in kind.inputs.values()],
        output=[_configured(kind, each) for each in kind.outputs.values()],
        model_transaction_policy={"decoupled": model.is_decoupled},
    )


def _configured(model: ModelKind, kind: TensorKind) -> dict[str, Any]:
    """A tensor in a configuration, where the batch is left out of the shape."""
    dims = kind.shape[1:] if model.is_batched else kind.shape
    return {"name": kind.name, "data_type": kind.datatype.config, "dims": dims}


def _batching(batching: Batching) -> Any:
    return protocol.ModelDynamicBatching(
        preferred_batch_size=batching.preferred_batch_sizes,
        max_queue_delay_microseconds=batching.max_queue_delay_microseconds,
        priority_levels=batching.priority_levels,
        default_priority_level=batching.default_priority,
        default_queue_policy=_policy(batching),
        priority_queue_policy={level: _policy(policy) for level, policy in batching.levels.items()},
    )


def _policy(policy: QueuePolicy) -> Any:
    return protocol.ModelQueuePolicy(
        timeout_action=_ACTIONS[policy.timeout_action],
        default_timeout_microseconds=policy.default_timeout_microseconds,
        allow_timeout_override=policy.allow_timeout_override,
        max_queue_size=policy.max_queue_size,
    )
