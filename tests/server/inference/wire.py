"""Calls the protocol's RPCs field by field, for requests that Triton's clients would not send."""

from typing import Any

import grpc
from google.protobuf import message_factory

from server.inference import protocol

_METHODS = {method.name: method for method in protocol.METHODS}


class Rpc:
    """`await rpc("ModelInfer", model_name=…)` is the response to one unary RPC."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def __call__(self, name: str, **fields: Any) -> Any:
        method: Any = _METHODS[name]
        rpc: Any = self._channel.unary_unary(
            f"/{protocol.SERVICE}/{name}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        return await rpc(protocol.request_class(method)(**fields))

    async def stream(self, *requests: dict[str, Any]) -> list[Any]:
        """All responses to requests on one stream."""
        method: Any = _METHODS["ModelStreamInfer"]
        rpc: Any = self._channel.stream_stream(
            f"/{protocol.SERVICE}/ModelStreamInfer",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        make = protocol.request_class(method)
        return [response async for response in rpc(make(**request) for request in requests)]
