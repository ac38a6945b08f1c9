"""Lets clients list the services and read their descriptors."""

from collections.abc import Iterable, Sequence

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from server.http2.server import Server


def reflect(server: Server, services: Sequence[str], others: Iterable[FileDescriptorProto]) -> None:
    """Describe services of the usual descriptor pool, and those in `others`, which are files of other pools."""
    pool, usual = DescriptorPool(), descriptor_pool.Default()
    names = [*services, reflection.SERVICE_NAME]
    known: set[str] = set()
    for name in names:
        _copy(usual.FindFileContainingSymbol(name), pool, known)
    for file in others:
        pool.AddSerializedFile(file.SerializeToString())
        names += [f"{file.package}.{service.name}" for service in file.service]
    servicer = reflection.aio.ReflectionServicer(names, pool=pool)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)


def _copy(file: FileDescriptor, pool: DescriptorPool, known: set[str]) -> None:
    """Add a file to the pool, after those that it imports."""
    if file.name not in known:
        known.add(file.name)
        for dependency in file.dependencies:
            _copy(dependency, pool, known)
        pool.AddSerializedFile(file.serialized_pb)
