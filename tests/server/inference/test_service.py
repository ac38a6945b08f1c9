"""The simple RPCs of the protocol, as a client of Triton sees them."""

from typing import Any

import grpc
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
