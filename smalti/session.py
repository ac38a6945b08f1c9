"""The only place that opens ONNX Runtime sessions, so that every process runs graphs the same way."""

import hashlib
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from smalti import gpu
from smalti.errors import ProviderMissing, RepositoryDamaged

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_BATCH_AXIS = "batch"  # as every export names it


def open_session(
    path: Path,
    *,
    provider: str = "cpu",
    threads: int = 1,
    gpu_memory_megabytes: int = 2048,
    batch: int | None = None,
    cuda_graph: bool = False,
    profile: Path | None = None,
) -> onnxruntime.InferenceSession:
    """A session on the provider that was asked for; raises ProviderMissing rather than fall back to another.

    With `batch` it takes batches of that size alone, so that nothing is left in the graph that computes shapes. With
    `cuda_graph` a GPU's kernels are captured at the first runs; raises RepositoryDamaged where this graph forbids it.
    With `profile` its times are written to a file whose name begins so, when `end_profiling` is called.
    """
    options = onnxruntime.SessionOptions()
    if batch is not None:
        options.add_free_dimension_override_by_name(_BATCH_AXIS, batch)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # a spinning thread starves its neighbours
    options.log_severity_level = 3
    if _PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise _missing(provider)
    if provider == "cuda":
        onnxruntime.preload_dlls()  # finds CUDA's libraries where pip put them
    try:
        session = onnxruntime.InferenceSession(
            path, options, providers=[_provider(provider, gpu_memory_megabytes, cuda_graph)]
        )
    except Exception as error:  # onnxruntime raises types of its own C++ side, one per error code
        raise RepositoryDamaged(f"onnxruntime cannot open {path}: {error}") from error
    _require(session, provider)
    return session


def fingerprint(provider: str, *, batches: Sequence[int] = ()) -> str:
    """What, beside the model's digest, must be equal for the same seed to give the same bytes, as one word.

    Runtime, provider and instruction set, and of a GPU its kind and the sizes of the batches: they decide the kernels,
    and so the last bits of every sum.
    """
    machine = hashlib.sha256(_instruction_set().encode()).hexdigest()[:8]
    version = onnxruntime.__version__.replace("+", "-")  # the queue joins several fingerprints by '+'
    common = f"onnxruntime-{version}/{provider}/{platform.machine()}-{machine}"
    return common if provider == "cpu" else f"{common}/{gpu.describe()}/{_joined(batches)}"


def _joined(batches: Sequence[int]) -> str:
    return "-".join(map(str, batches))


def _provider(name: str, gpu_memory_megabytes: int, cuda_graph: bool) -> str | tuple[str, dict[str, object]]:
    if name == "cpu":
        return _PROVIDERS["cpu"]
    return _PROVIDERS[name], {
        "gpu_mem_limit": gpu_memory_megabytes * 1024 * 1024,
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
    """The CPU's name and vector extensions, which decide the kernels that onnxruntime picks."""
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
