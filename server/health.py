"""`python -m server.health [ADDRESS]`: exits 0 when the server there is ready, else 1 with one sentence."""

import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.address import asked_address
from smalti.address import parse_address
from smalti.client.channel import options
from smalti.client.failures import cause_of
from smalti.errors import SmaltiError
from smalti.runtime.settings import ServerSettings, read_settings

_ANSWER_SECONDS = 3.0


def ask(address: str, service: str = "") -> str:
    """What the server says of a service, or of itself as a whole: SERVING, NOT_SERVING, or why there is no answer."""
    place = parse_address(address)
    with grpc.insecure_channel(place.text, options(place)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=_ANSWER_SECONDS)
        except grpc.RpcError as error:
            return f"no answer: {_cause(error)}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def default_address() -> str:
    """Where a server with these settings can be reached from this machine; raises SettingsInvalid."""
    return asked_address(read_settings(ServerSettings).listen).text


def _cause(error: Any) -> str:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "it took too long"
    return cause_of(error.details() or error.code().name)


def main() -> None:
    """Ask once."""
    try:
        address = sys.argv[1] if len(sys.argv) > 1 else default_address()
        answer = ask(address)
    except SmaltiError as error:
        sys.exit(str(error))
    if answer != "SERVING":
        sys.exit(f"The server at {address} is not ready: {answer}.")


if __name__ == "__main__":
    main()
