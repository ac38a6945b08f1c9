"""The messages and the service of proto/inference/protocol.proto, in their own descriptor pool.

The usual pool holds one package `inference` per process, and a client of Triton in the same process needs it.
"""

from pathlib import Path
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

SERVICE = "inference.GRPCInferenceService"
_DESCRIPTORS = Path(__file__).with_name("protocol.binpb")  # `make proto` writes it


def file() -> FileDescriptorProto:
    """The descriptors of the protocol's file."""
    [found] = FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes()).file
    return found


def _load() -> FileDescriptor:
    pool = DescriptorPool()
    pool.AddSerializedFile(file().SerializeToString())
    return pool.FindFileByName(file().name)


_FILE = _load()


def _message(name: str) -> Any:  # a class that protobuf makes from the descriptors
    return message_factory.GetMessageClass(_FILE.message_types_by_name[name])


METHODS = tuple(_FILE.services_by_name["GRPCInferenceService"].methods)
DataType: Any = EnumTypeWrapper(_FILE.enum_types_by_name["DataType"])

ServerLiveResponse = _message("ServerLiveResponse")
ServerReadyResponse = _message("ServerReadyResponse")
ServerMetadataResponse = _message("ServerMetadataResponse")
ModelReadyResponse = _message("ModelReadyResponse")
ModelMetadataResponse = _message("ModelMetadataResponse")
ModelConfig = _message("ModelConfig")
ModelConfigResponse = _message("ModelConfigResponse")
ModelDynamicBatching = _message("ModelDynamicBatching")
ModelQueuePolicy = _message("ModelQueuePolicy")
InferParameter = _message("InferParameter")
ModelInferRequest = _message("ModelInferRequest")
ModelInferResponse = _message("ModelInferResponse")
ModelStreamInferResponse = _message("ModelStreamInferResponse")
ModelStatistics = _message("ModelStatistics")
ModelStatisticsResponse = _message("ModelStatisticsResponse")
InferStatistics = _message("InferStatistics")
InferBatchStatistics = _message("InferBatchStatistics")
InferResponseStatistics = _message("InferResponseStatistics")
StatisticDuration = _message("StatisticDuration")
RepositoryIndexResponse = _message("RepositoryIndexResponse")
RepositoryModelLoadResponse = _message("RepositoryModelLoadResponse")
RepositoryModelUnloadResponse = _message("RepositoryModelUnloadResponse")
TraceSettingResponse = _message("TraceSettingResponse")
LogSettingsResponse = _message("LogSettingsResponse")
SystemSharedMemoryStatusResponse = _message("SystemSharedMemoryStatusResponse")
SystemSharedMemoryRegisterResponse = _message("SystemSharedMemoryRegisterResponse")
SystemSharedMemoryUnregisterResponse = _message("SystemSharedMemoryUnregisterResponse")
CudaSharedMemoryStatusResponse = _message("CudaSharedMemoryStatusResponse")
CudaSharedMemoryUnregisterResponse = _message("CudaSharedMemoryUnregisterResponse")


def request_class(method: Any) -> Any:
    """The class of a method's requests."""
    return message_factory.GetMessageClass(method.input_type)
