"""`python -m server.health [ADDRESS]`: exits 0 when the server there is ready, else 1 with one sentence."""

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.address import parse_address
from smalti.errors import SettingsInvalid
from smalti.settings import ServerSettings, read_settings

_ANSWER_SECONDS = 3.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # a server that listens everywhere is asked here


def ask(address: str, service: str = "") -> str:
    """What the server says of a service, or of itself as a whole: SERVING, NOT_SERVING, or why there is no answer."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=_ANSWER_SECONDS)
        except grpc.RpcError as error:
            return f"no answer: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def default_address() -> str:
    """Where a server with these settings can be reached from this machine."""
    address = parse_address(read_settings(ServerSettings).listen)
    return f"{_EVERYWHERE.get(address.host, address.host)}:{address.port}"


def main() -> None:
    """Ask once."""
    try:
        address = sys.argv[1] if len(sys.argv) > 1 else default_address()
    except SettingsInvalid as error:
        sys.exit(str(error))
    answer = ask(address)
    if answer != "SERVING":
        sys.exit(f"The server at {address} is not ready: {answer}.")


if __name__ == "__main__":
    main()
