"""Opens the graphs of models, checked against their manifests."""

import hashlib
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from smalti.errors import RepositoryDamaged
from smalti.printable import printable
from smalti.runtime import gpu, onnx_file, signature
from smalti.runtime.opening import TYPES, open_bytes
from smalti.runtime.provider import CPU, Provider
from smalti.runtime.repository import Model
from smalti.runtime.signature import Kind


def open_graph(
    model: Model, graph: str, *, provider: Provider = CPU, batch: int | None = None, **options: Any
) -> onnxruntime.InferenceSession:
    """A session for a graph of a model, checked against the manifest; the options are those of `open_bytes`.

    Raises RepositoryDamaged if the file is not that graph, or keeps weights in files that the manifest does not list.
    """
    try:
        file = model.manifest.graph(graph).file
        content = model.content(file)
        kept = {name: model.content(name) for name in _weights_of(model, content)}
        session = open_bytes(file, content, kept, provider=provider, batch=batch, **options)
        _refuse_other_tensors(model, graph, session, batch)
        if model.manifest.has_images:
            _refuse_other_colours(model, content)
    except RepositoryDamaged as error:
        raise RepositoryDamaged(f"{model.title}: {error}") from error
    except ValueError as error:
        raise RepositoryDamaged(f"{model.title}: {model.manifest.graph(graph).file}: {error}.") from error
    return session


def open_session(path: Path, **options: Any) -> onnxruntime.InferenceSession:
    """A session for a graph's file outside any model; the options are those of `open_bytes`.

    Raises RepositoryDamaged if onnxruntime cannot open it.
    """
    content = path.read_bytes()
    try:
        kept = {name: (path.parent / name).read_bytes() for name in onnx_file.files_of(content).own}
    except ValueError as error:
        raise RepositoryDamaged(f"onnxruntime cannot open {path.name}: {error}") from error
    return open_bytes(path.name, content, kept, **options)


def fingerprint(provider: str, *, batches: Sequence[int] = ()) -> str:
    """Everything besides the model's digest that must be equal for a seed to give the same bytes, as one word.

    It names runtime, provider and instruction set; for a GPU also its kind and the batch sizes. They decide which
    kernels run, and so the last bits of every sum.
    """
    machine = hashlib.sha256(_instruction_set().encode()).hexdigest()[:8]
    version = onnxruntime.__version__.replace("+", "-")  # the queue joins several fingerprints by '+'
    common = f"onnxruntime-{version}/{provider}/{platform.machine()}-{machine}"
    return common if provider == "cpu" else f"{common}/{gpu.describe()}/{_joined(batches)}"


def _weights_of(model: Model, content: bytes) -> set[str]:
    """The files with a graph's weights; raises ValueError for any that a session could not take as bytes."""
    own, inner = onnx_file.files_of(content)
    unlisted = (own | inner) - model.manifest.files.keys()
    if unlisted:
        raise ValueError(
            f"it keeps weights in '{printable(min(unlisted))}', which the manifest does not list with its SHA-256"
        )
    if inner:  # onnxruntime would search for that file in the current folder
        raise ValueError(
            f"it keeps weights of a node's own graph in '{min(inner)}'; only the graph's own weights may be there"
        )
    return own


def _refuse_other_tensors(
    model: Model, graph: str, session: onnxruntime.InferenceSession, batch: int | None
) -> None:
    said = model.manifest.graph(graph).signature
    inputs, outputs = _kinds(session.get_inputs(), batch), _kinds(session.get_outputs(), batch)
    fault = signature.difference("input", inputs, said.inputs) or signature.difference(
        "output", outputs, said.outputs
    )
    surplus = [name for name in inputs if name not in said.inputs]
    if surplus and not fault:
        fault = f"it has an input '{printable(surplus[0])}'"
    if fault:
        raise ValueError(f"{fault}, as the manifest says")


def _refuse_other_colours(model: Model, content: bytes) -> None:
    colours, palette = onnx_file.colours_of(content), len(model.manifest.palette)
    if colours not in (0, palette):
        raise ValueError(f"it draws with {colours} colours, but the palette has {palette}")


def _kinds(tensors: Iterable[Any], batch: int | None) -> dict[str, Kind]:
    """onnxruntime's descriptions in a manifest's terms; an axis of any size is −1."""
    return {tensor.name: (TYPES.get(tensor.type, tensor.type), _shape(tensor, batch)) for tensor in tensors}


def _shape(tensor: Any, batch: int | None) -> tuple[int, ...]:
    sizes = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
    return (-1, *sizes[1:]) if batch is not None and sizes[:1] == (batch,) else sizes


def _joined(batches: Sequence[int]) -> str:
    return "-".join(map(str, batches))


def _instruction_set() -> str:
    """The CPU's vector extensions, which decide the kernels that onnxruntime picks."""
    if not os.path.exists("/proc/cpuinfo"):
        return platform.processor()
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    return next(
        (
            " ".join(sorted(w for w in line.split() if w.startswith(("avx", "amx", "fma", "asimd", "sve"))))
            for line in lines
            if line.startswith(("flags", "Features"))
        ),
        "",
    )
