"""Opens ONNX Runtime sessions from bytes. Nothing else does, so every process runs graphs in the same way."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import onnxruntime

from smalti.errors import ProviderMissing, RepositoryDamaged
from smalti.printable import printable
from smalti.runtime.manifest import Type
from smalti.runtime.provider import CPU, Provider

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_BATCH_AXIS = "batch"  # the name that every export gives it
_OTHERWISE = {"float32": "float", "float64": "double"}  # types that onnxruntime calls otherwise
TYPES: Mapping[str, Type] = {f"tensor({_OTHERWISE.get(name, name)})": name for name in get_args(Type)}
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE = re.compile(  # everything up to a place in onnxruntime's own code, and the function there
    r".*\.(?:cc|cpp|cuh?|h|hpp):\d+ "
    r"(?:[^()]*?::[^()]*\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[.*?\])? |[A-Z]\w*[a-z][A-Z]\w* )?"
)
_CONDITION = re.compile(r".* was false\. (?=\S)")
_ON_A_GPU = re.compile(r" ; GPU=.*")  # names the machine
_PATH = re.compile(r"(?<![\w.])(?:/[^\s/:\"']+)+")  # an absolute one


def open_bytes(
    name: str,
    graph: bytes,
    kept: Mapping[str, bytes],
    *,
    provider: Provider = CPU,
    batch: int | None = None,
    cuda_graph: bool = False,
    profile: Path | None = None,
    optimised: bool = True,
) -> onnxruntime.InferenceSession:
    """A session for a graph on this provider; raises ProviderMissing, and never falls back to another one.

    It takes the bytes of the graph and of its weight files. If it took files, onnxruntime would map the weights, and
    would draw with whatever is written over them later, or crash. It copies what it needs from bytes.

    With `batch` the session takes only batches of that size, and computes no shapes. With `cuda_graph` a GPU's kernels
    are captured in the first runs; raises RepositoryDamaged if the graph does not allow it. With `profile` it writes
    its times to a file with this prefix when `end_profiling` is called. A session that is not `optimised` opens sooner:
    it is for looking at the graph.
    """
    options = _options(kept, provider)
    if batch is not None:
        options.add_free_dimension_override_by_name(_BATCH_AXIS, batch)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
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


def told(error: Exception) -> str:
    """onnxruntime's error in one line for people: no codes, no places in its source, no paths of this machine."""
    line = _CODE.sub("", (str(error).splitlines() or [type(error).__name__])[0])
    said = _ON_A_GPU.sub("", _CONDITION.sub("", _SOURCE.sub("", line.rsplit("Status Message: ", 1)[-1])))
    return printable(_PATH.sub(lambda path: path[0].rsplit("/", 1)[1], said), longest=300)


def _options(kept: Mapping[str, bytes], provider: Provider) -> onnxruntime.SessionOptions:
    """What every session has, with its weights."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = provider.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # a spinning thread starves its neighbours
    options.log_severity_level = 4  # errors are raised, so they need not be printed too
    options.add_external_initializers_from_files_in_memory(
        list(kept), list(kept.values()), [len(content) for content in kept.values()]
    )
    return options


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
