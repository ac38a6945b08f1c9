"""Opens ONNX Runtime sessions. Nothing else does, so every process runs graphs in the same way."""

import hashlib
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import onnxruntime

from smalti.errors import ProviderMissing, RepositoryDamaged
from smalti.printable import printable
from smalti.runtime import gpu, onnx_file, signature
from smalti.runtime.manifest import Type
from smalti.runtime.provider import CPU, Provider
from smalti.runtime.repository import Model
from smalti.runtime.signature import Kind

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_BATCH_AXIS = "batch"  # the name that every export gives it
_OTHERWISE = {"float32": "float", "float64": "double"}  # types that onnxruntime calls otherwise
_TYPES = {f"tensor({_OTHERWISE.get(name, name)})": name for name in get_args(Type)}
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE = re.compile(  # everything up to a place in onnxruntime's own code, and the function there
    r".*\.(?:cc|cpp|cuh?|h|hpp):\d+ "
    r"(?:[^()]*?::[^()]*\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[.*?\])? |[A-Z]\w*[a-z][A-Z]\w* )?"
)
_CONDITION = re.compile(r".* was false\. (?=\S)")
_ON_A_GPU = re.compile(r" ; GPU=.*")  # names the machine
_PATH = re.compile(r"(?<![\w.])(?:/[^\s/:\"']+)+")  # an absolute one


def open_graph(
    model: Model, graph: str, *, provider: Provider = CPU, batch: int | None = None, **options: Any
) -> onnxruntime.InferenceSession:
    """A session for a graph of a model, checked against the manifest; the options are those of `_open`.

    Raises RepositoryDamaged if the file is not that graph, or keeps weights in files that the manifest does not list.
    """
    try:
        file = model.manifest.graph(graph).file
        content = model.content(file)
        kept = {name: model.content(name) for name in _weights_of(model, content)}
        session = _open(file, content, kept, provider=provider, batch=batch, **options)
        _refuse_other_tensors(model, graph, session, batch)
        if model.manifest.has_images:
            _refuse_other_colours(model, content)
    except RepositoryDamaged as error:
        raise RepositoryDamaged(f"{model.title}: {error}") from error
    except ValueError as error:
        raise RepositoryDamaged(f"{model.title}: {model.manifest.graph(graph).file}: {error}.") from error
    return session


def told(error: Exception) -> str:
    """onnxruntime's error in one line for people: no codes, no places in its source, no paths of this machine."""
    line = _CODE.sub("", (str(error).splitlines() or [type(error).__name__])[0])
    said = _ON_A_GPU.sub("", _CONDITION.sub("", _SOURCE.sub("", line.rsplit("Status Message: ", 1)[-1])))
    return printable(_PATH.sub(lambda path: path[0].rsplit("/", 1)[1], said), longest=300)


def open_session(path: Path, **options: Any) -> onnxruntime.InferenceSession:
    """A session for a graph's file outside any model; the options are those of `_open`.

    Raises RepositoryDamaged if onnxruntime cannot open it.
    """
    content = path.read_bytes()
    try:
        kept = {name: (path.parent / name).read_bytes() for name in onnx_file.files_of(content).own}
    except ValueError as error:
        raise RepositoryDamaged(f"onnxruntime cannot open {path.name}: {error}") from error
    return _open(path.name, content, kept, **options)


def _open(
    name: str,
    graph: bytes,
    kept: Mapping[str, bytes],
    *,
    provider: Provider = CPU,
    batch: int | None = None,
    cuda_graph: bool = False,
    profile: Path | None = None,
) -> onnxruntime.InferenceSession:
    """A session on this provider; raises ProviderMissing, and never falls back to another one.

    It takes the bytes of the graph and of its weight files. If it took files, onnxruntime would map the weights, and
    would draw with whatever is written over them later, or crash. It copies what it needs from bytes.

    With `batch` the session takes only batches of that size, and computes no shapes. With `cuda_graph` a GPU's kernels
    are captured in the first runs; raises RepositoryDamaged if the graph does not allow it. With `profile` it writes
    its times to a file with this prefix when `end_profiling` is called.
    """
    options = onnxruntime.SessionOptions()
    if batch is not None:
        options.add_free_dimension_override_by_name(_BATCH_AXIS, batch)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    options.intra_op_num_threads = provider.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # a spinning thread starves its neighbours
    options.log_severity_level = 4  # errors are raised, so they need not be printed too
    options.add_external_initializers_from_files_in_memory(
        list(kept), list(kept.values()), [len(content) for content in kept.values()]
    )
    if _PROVIDERS[provider.name] not in onnxruntime.get_available_providers():
        raise _missing(provider.name)
    if provider.name == "cuda":
        onnxruntime.preload_dlls()  # finds CUDA's libraries where pip put them
    try:
        session = onnxruntime.InferenceSession(
            graph, options, providers=[_provider(provider, cuda_graph=cuda_graph)]
        )
    except Exception as error:  # onnxruntime raises types of its own C++ side, one per error code
        raise RepositoryDamaged(f"onnxruntime cannot open {name}: {told(error)}") from error
    _require(session, provider.name)
    return session


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
    return {tensor.name: (_TYPES.get(tensor.type, tensor.type), _shape(tensor, batch)) for tensor in tensors}


def _shape(tensor: Any, batch: int | None) -> tuple[int, ...]:
    sizes = tuple(size if isinstance(size, int) else -1 for size in tensor.shape)
    return (-1, *sizes[1:]) if batch is not None and sizes[:1] == (batch,) else sizes


def _joined(batches: Sequence[int]) -> str:
    return "-".join(map(str, batches))


def _provider(provider: Provider, *, cuda_graph: bool) -> str | tuple[str, dict[str, object]]:
    """The provider as onnxruntime's sessions take it."""
    if provider.name == "cpu":
        return _PROVIDERS["cpu"]
    return _PROVIDERS[provider.name], {
        "gpu_mem_limit": provider.gpu_memory_megabytes * 1024 * 1024,
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": 0,
        "enable_cuda_graph": int(cuda_graph),
    }


def _require(session: onnxruntime.InferenceSession, provider: str) -> None:
    # onnxruntime-gpu without CUDA's libraries opens the session on the CPU and only logs it.
    if session.get_providers()[0] != _PROVIDERS[provider]:
        raise _missing(provider)


def _missing(provider: str) -> ProviderMissing:
    return ProviderMissing(
        f"SMALTI_PROVIDERS is '{provider}', but onnxruntime has no working {_PROVIDERS[provider]} here: "
        "install smalti[serve-gpu] on a machine with an NVIDIA GPU, or set SMALTI_PROVIDERS=cpu."
    )


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
