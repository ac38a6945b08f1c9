"""Asks the health service of a server; needs grpcio-health-checking, which comes with the extra `serve`."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from smalti.address import parse_address
from smalti.client.channel import options
from smalti.client.failures import cause_of

_ANSWER_SECONDS = 3.0


def ask(address: str, service: str = "") -> str:
    """The health of a service or model, or of the whole server: SERVING, NOT_SERVING, or why there is no answer."""
    place = parse_address(address)
    with grpc.insecure_channel(place.text, options(place)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=_ANSWER_SECONDS)
        except grpc.RpcError as error:
            return f"no answer: {_cause(error)}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def _cause(error: Any) -> str:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "it took too long"
    return cause_of(error.details() or error.code().name)
