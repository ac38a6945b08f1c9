"""Traces networks to ONNX graphs, writes graphs with shared weights, and runs them for comparison."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from torch import Tensor, nn

from export.errors import ExportRefused
from smalti.runtime import manifest
from smalti.runtime.manifest import Graph
from smalti.runtime.session import open_session

OPSET = 20
IR_VERSION = 10  # the newest that all supported onnxruntime versions read
EXAMPLE_BATCH = 2  # entries in a traced example: torch treats a batch of 1 as a constant
WEIGHTS = "weights.data"
FORBIDDEN = frozenset(  # control flow prevents CUDA graphs; onnxruntime's random numbers are not reproducible
    {
        "If",
        "Loop",
        "Scan",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
    }
    | {"Bernoulli"}
)
TOLERANCE = 1e-4  # a difference between torch and onnxruntime below this is rounding
_INLINE_BYTES = 1024  # smaller constants stay in the graph's own file
_ALIGNMENT = 64  # bytes; so that memory-mapped weights can be used without a copy
_TYPES: dict[int, Literal["float32", "int64", "bool"]] = {
    TensorProto.FLOAT: "float32",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
}

Arrays = Mapping[str, NDArray[Any]]


def trace(
    network: nn.Module, example: Sequence[Tensor], *, inputs: Sequence[str], outputs: Sequence[str]
) -> ModelProto:
    """The network as an ONNX graph with named inputs and outputs; every first axis is the batch, and dynamic.

    The example's batch must be 2 or more: torch treats a batch of 1 as a constant. If one input is longer than
    another, its first axis is that multiple of the batch.
    """
    with _quiet():
        program = torch.onnx.export(
            network.eval(),
            tuple(example),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=_dynamic(network, example),
            verbose=False,
        )
    assert program is not None, "torch.onnx.export returns a program when it is given no file"
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings of torch's exporter: its own deprecations, and that torchvision is missing."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _dynamic(network: nn.Module, example: Sequence[Tensor]) -> tuple[Any, ...]:
    """A dynamic first axis for every input; the inputs of *args are one nested tuple."""
    batch, size = torch.export.Dim("batch"), min(len(value) for value in example)
    axes = [{0: batch if len(value) == size else len(value) // size * batch} for value in example]
    named = network.forward.__code__.co_argcount - 1
    return (*axes[:named], tuple(axes[named:])) if axes[named:] else tuple(axes)


def save(graphs: Mapping[str, ModelProto], folder: Path) -> dict[str, Graph]:
    """Write each graph as NAME.onnx, and their large weights into one file, equal ones once; returns descriptions."""
    offsets: dict[bytes, int] = {}
    with (folder / WEIGHTS).open("wb") as data:
        for name, model in graphs.items():
            _refuse_forbidden(name, model)
            _forget_origin(model)
            for weight in model.graph.initializer:
                _move_out(weight, data, offsets)
            onnx.save_model(model, folder / f"{name}.onnx")
    if not offsets:
        (folder / WEIGHTS).unlink()
    return {name: _describe(f"{name}.onnx", model) for name, model in graphs.items()}


def _forget_origin(model: ModelProto) -> None:
    """Remove torch's notes for debugging: they name files and lines of the exporting machine."""
    parts = [model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer]
    for part in [*parts, *model.graph.input, *model.graph.output]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _move_out(weight: TensorProto, data: Any, offsets: dict[bytes, int]) -> None:
    """Move a large weight into the data file, unless an equal one is there, and refer to it."""
    content = numpy_helper.to_array(weight).tobytes()
    if len(content) < _INLINE_BYTES:
        return
    if content not in offsets:
        data.write(b"\0" * (-data.tell() % _ALIGNMENT))
        offsets[content] = data.tell()
        data.write(content)
    shape, kind, name = list(weight.dims), weight.data_type, weight.name
    weight.Clear()
    weight.dims.extend(shape)
    weight.data_type, weight.name = kind, name
    weight.data_location = TensorProto.EXTERNAL
    where = {"location": WEIGHTS, "offset": offsets[content], "length": len(content)}
    for key, value in where.items():
        weight.external_data.add(key=key, value=str(value))


def _refuse_forbidden(name: str, model: ModelProto) -> None:
    kinds = {node.op_type for node in model.graph.node}
    kinds |= {node.op_type for function in model.functions for node in function.node}
    if kinds & FORBIDDEN:
        raise ExportRefused(
            f"The graph {name} contains {', '.join(sorted(kinds & FORBIDDEN))}, which smalti does not run."
        )


def _describe(file: str, model: ModelProto) -> Graph:
    return Graph(
        file=file,
        inputs=tuple(_tensor(value) for value in model.graph.input),
        outputs=tuple(_tensor(value) for value in model.graph.output),
    )


def _tensor(value: onnx.ValueInfoProto) -> manifest.Tensor:
    kind = value.type.tensor_type
    shape = tuple(axis.dim_value if axis.HasField("dim_value") else -1 for axis in kind.shape.dim)
    if -1 in shape[1:] or shape[:1] != (-1,):
        raise ExportRefused(f"Only the first axis of {value.name} may be dynamic, but its shape is {shape}.")
    return manifest.Tensor(name=value.name, type=_TYPES[kind.elem_type], shape=shape)


class Session:
    """An exported graph in onnxruntime on the CPU, to compare it with torch."""

    def __init__(self, file: Path) -> None:
        self.session = open_session(file)
        self.outputs = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All outputs by name."""
        found = cast(list[NDArray[Any]], self.session.run(None, dict(inputs)))
        return dict(zip(self.outputs, found, strict=True))


def largest_difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest absolute difference; infinite if a value is not finite."""
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float(np.where(np.isfinite(apart), apart, np.inf).max(initial=0.0))
