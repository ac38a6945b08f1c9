"""Says what each RPC needs: the one table of every RPC of every service."""

from collections.abc import Mapping
from typing import Literal

from smalti.runtime.names import Group

Need = Group | Literal["any token", "nothing"]

# An RPC that is served and missing here needs the group admin; a test fails for it.
NEEDS: Mapping[str, Mapping[str, Need]] = {
    "smalti.v1.ImageService": {
        "Draw": "inference",
        "DrawStream": "jobs",  # it goes through the queue
        "Encode": "inference",
        "Decode": "inference",
        "Reconstruct": "inference",
        "Interpolate": "inference",
        "Sweep": "inference",
        "Score": "inference",
    },
    "smalti.v1.JobService": {
        "Submit": "jobs",
        "SubmitCompletions": "jobs",
        "Get": "jobs",
        "List": "jobs",
        "Watch": "jobs",
        "Results": "jobs",
        "Cancel": "jobs",
        "GetWebhookKey": "jobs",
        "Pause": "jobs",
        "Resume": "jobs",
        "Delete": "jobs",
    },
    "smalti.v1.ModelService": {
        "List": "any token",
        "Get": "any token",
        "Load": "admin",
        "Unload": "admin",
    },
    "smalti.v1.AdminService": {
        "ListWeights": "admin",
        "SetWeight": "admin",
        "Statistics": "admin",
        "PausePool": "admin",
        "ResumePool": "admin",
        "DrainWorker": "admin",
        "ListDead": "admin",
        "Retry": "admin",
        "Audit": "admin",
    },
    "inference.GRPCInferenceService": {
        "ServerLive": "any token",
        "ServerReady": "any token",
        "ModelReady": "any token",
        "ServerMetadata": "any token",
        "ModelMetadata": "any token",
        "ModelConfig": "any token",
        "ModelStatistics": "any token",
        "RepositoryIndex": "any token",
        "ModelInfer": "inference",
        "ModelStreamInfer": "inference",  # a request for a graph that draws needs the group jobs: its handler asks
        "RepositoryModelLoad": "admin",
        "RepositoryModelUnload": "admin",
        "SystemSharedMemoryStatus": "admin",
        "SystemSharedMemoryRegister": "admin",
        "SystemSharedMemoryUnregister": "admin",
        "CudaSharedMemoryStatus": "admin",
        "CudaSharedMemoryRegister": "admin",
        "CudaSharedMemoryUnregister": "admin",
        "TraceSetting": "admin",
        "LogSettings": "admin",
    },
    "grpc.health.v1.Health": {  # probes of containers have no token
        "Check": "nothing",
        "Watch": "nothing",
    },
    "grpc.reflection.v1alpha.ServerReflection": {
        "ServerReflectionInfo": "any token",
    },
}
_HEALTH = "/grpc.health.v1.Health/"
_BY_PATH: Mapping[str, Need] = {
    f"/{service}/{method}": need for service, methods in NEEDS.items() for method, need in methods.items()
}


def need_of(path: str) -> Need:
    """What a call of the RPC at this path, such as /smalti.v1.JobService/Get, needs."""
    # Whatever a newer probe asks of the health service, it learns without a token that this is not served.
    return _BY_PATH.get(path, "nothing" if path.startswith(_HEALTH) else "admin")
