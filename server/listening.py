"""Makes the gRPC server: its address, its limits, what may be asked of it by reflection."""

import socket
from collections.abc import Sequence

import grpc
import structlog
from grpc_reflection.v1alpha import reflection

from server.address import Address
from server.interceptor import Gate
from smalti.errors import SettingsInvalid

log = structlog.get_logger()
_STREAMS_PER_CONNECTION = 256
_KEEPALIVE_MS = 60_000  # finds clients that went away without a word
_KEEPALIVE_ANSWER_MS = 20_000
_SHORTEST_PING_MS = 10_000  # clients that ping more often are told to stop


def make_server(gate: Gate, address: Address, *, max_message_bytes: int) -> tuple[grpc.aio.Server, int]:
    """A server with its limits, and the port that it took; raises SettingsInvalid where it cannot have it."""
    _refuse_taken(address)
    server = _make_server(gate, max_message_bytes)
    return server, _listen(server, address)


def _make_server(gate: Gate, max_message_bytes: int) -> grpc.aio.Server:
    return grpc.aio.server(
        interceptors=[gate],
        options=[
            ("grpc.so_reuseport", 0),  # else a second server would share the port in silence
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),  # what a request may ask for is limited instead
            ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", _KEEPALIVE_ANSWER_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _SHORTEST_PING_MS),
        ],
    )


def _listen(server: grpc.aio.Server, address: Address) -> int:
    if not address.is_loopback:
        log.warning(
            "listening beyond this machine without TLS or tokens: whoever reaches the port may use it",
            address=address.text,
        )
    try:
        return server.add_insecure_port(address.text)
    except RuntimeError as error:
        raise SettingsInvalid(f"SMALTI_LISTEN: cannot listen on {address.text}: {error}.") from error


def _refuse_taken(address: Address) -> None:
    """Try the port with a plain socket first, since gRPC says on standard error, and at length, what failed."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise SettingsInvalid(f"SMALTI_LISTEN: cannot listen on {address.text}: {error.strerror}.") from error


def reflect(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Let clients ask which services there are."""
    reflection.enable_server_reflection([*services, reflection.SERVICE_NAME], server)
