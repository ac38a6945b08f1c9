"""What onnxruntime computes on, and how much of the machine it may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """How every session of a process is opened."""

    name: str = "cpu"  # or "cuda"
    threads: int = 1  # within one operator
    gpu_memory_megabytes: int = 2048


CPU = Provider()
