"""The simple RPCs of the protocol, as a client of Triton sees them."""

import subprocess
import sys


async def test_a_server_that_is_ready_says_so(rpc):
    assert (await rpc("ServerLive")).live
    assert (await rpc("ServerReady")).ready


async def test_the_server_says_its_name_and_version(rpc):
    metadata = await rpc("ServerMetadata")
    assert metadata.name == "smalti"
    assert metadata.version
    assert "classification" in metadata.extensions


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
