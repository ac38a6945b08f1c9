"""Writes what clients ask about a model: its metadata."""

from collections.abc import Iterable
from typing import Any

from server.inference import protocol
from server.inference.naming import ProtocolModel
from server.inference.signatures import TensorKind

PLATFORM = "onnxruntime_onnx"


def metadata_of(model: ProtocolModel, versions: Iterable[str]) -> Any:
    """The metadata of a model that is served in these versions."""
    return protocol.ModelMetadataResponse(
        name=model.name,
        versions=versions,
        platform=PLATFORM,
        inputs=[_tensor(each) for each in model.kind.inputs.values()],
        outputs=[_tensor(each) for each in model.kind.outputs.values()],
    )


def _tensor(kind: TensorKind) -> Any:
    return protocol.ModelMetadataResponse.TensorMetadata(
        name=kind.name, datatype=kind.datatype.name, shape=kind.shape
    )
