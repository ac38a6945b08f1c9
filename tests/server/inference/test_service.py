"""The simple RPCs of the protocol, as a client of Triton sees them."""

import subprocess
import sys
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory

from server.inference import protocol


async def call(channel: grpc.aio.Channel, name: str, **fields: Any) -> Any:
    """The response to one unary RPC of the protocol."""
    method = next(each for each in protocol.METHODS if each.name == name)
    answer = message_factory.GetMessageClass(method.output_type)
    rpc: Any = channel.unary_unary(
        f"/{protocol.SERVICE}/{name}",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    return await rpc(protocol.request_class(method)(**fields))


async def test_a_server_that_is_ready_says_so(server):
    assert (await call(server.channel, "ServerLive")).live
    assert (await call(server.channel, "ServerReady")).ready


async def test_the_server_says_its_name_and_version(server):
    metadata = await call(server.channel, "ServerMetadata")
    assert metadata.name == "smalti"
    assert metadata.version


async def test_rpcs_that_are_not_there_yet_are_unimplemented(server):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(server.channel, "ModelInfer", model_name="toy-vae.decode")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


# In a process of its own, because a descriptor pool forgets nothing.
TWO_DESCRIPTIONS = """
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from server.inference import protocol

theirs = FileDescriptorProto(name="grpc_service.proto", package="inference", syntax="proto3")
message = theirs.message_type.add(name="ServerLiveResponse")
message.field.add(name="alive", number=9, type="TYPE_BOOL", label="LABEL_OPTIONAL")
pool = descriptor_pool.Default()
pool.AddSerializedFile(theirs.SerializeToString())
print(pool.FindMessageTypeByName("inference.ServerLiveResponse").fields[0].name)
print(protocol.ServerLiveResponse.DESCRIPTOR.fields[0].name)
"""


def test_a_client_of_triton_in_the_same_process_may_describe_the_protocol_in_its_own_way():
    done = subprocess.run(
        [sys.executable, "-c", TWO_DESCRIPTIONS], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "alive\nlive\n"
