"""Asks the health service of a server; needs grpcio-health-checking, which comes with the extra `serve`."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from smalti.client.channel import Connection, Metadata
from smalti.client.failures import cause_of

_ANSWER_SECONDS = 3.0


def ask(
    address: str,
    service: str = "",
    *,
    credentials: grpc.ChannelCredentials | None = None,
    metadata: Metadata = (),
    host: str = "",
) -> str:
    """The health of a service or model, or of the whole server: SERVING, NOT_SERVING, or why there is no answer.

    `host` is the name that the server's certificate must have, if it is not that of the address.
    """
    connection = Connection.to(address, credentials=credentials, metadata=metadata, host=host)
    request = health_pb2.HealthCheckRequest(service=service)
    with connection.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(request, timeout=_ANSWER_SECONDS, metadata=connection.metadata)
        except grpc.RpcError as error:
            return f"no answer: {_cause(error)}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def _cause(error: Any) -> str:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "it took too long"
    return cause_of(error.details() or error.code().name)
