"""Makes the gRPC server: its address, its limits, what may be asked of it by reflection."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import structlog
from grpc_reflection.v1alpha import reflection

from server.interceptor import Gate
from smalti.errors import SettingsInvalid

log = structlog.get_logger()
_STREAMS_PER_CONNECTION = 256
_KEEPALIVE_MS = 60_000  # finds clients that went away without a word
_KEEPALIVE_ANSWER_MS = 20_000
_SHORTEST_PING_MS = 10_000  # clients that ping more often are told to stop


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """As gRPC writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(text: str) -> Address:
    """The address in SMALTI_LISTEN, 'host:port'; raises SettingsInvalid."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= 65535):
        raise SettingsInvalid(f"SMALTI_LISTEN is '{text}': write it as host:port, such as 127.0.0.1:50051.")
    return Address(host.strip("[]"), int(port))


def make_server(gate: Gate, *, max_message_bytes: int) -> grpc.aio.Server:
    """A server with its limits, which listens nowhere yet."""
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


def listen(server: grpc.aio.Server, address: Address) -> int:
    """Take the port, 0 a free one, and return it; raises SettingsInvalid where that cannot be."""
    if not address.is_loopback:
        log.warning(
            "listening beyond this machine without TLS or tokens: whoever reaches the port may use it",
            address=address.text,
        )
    try:
        port = server.add_insecure_port(address.text)
    except RuntimeError as error:
        raise SettingsInvalid(
            f"SMALTI_LISTEN: cannot listen on {address.text}: the port is taken, or the address is not this machine's."
        ) from error
    return port


def reflect(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Let clients ask which services there are."""
    reflection.enable_server_reflection([*services, reflection.SERVICE_NAME], server)
