"""Makes the gRPC server: its port and its limits."""

import errno
import socket
from typing import Any

import grpc
import structlog

from server.address import NAME
from server.gate import Gate
from smalti.address import Address
from smalti.errors import SettingsInvalid
from smalti.printable import printable

log = structlog.get_logger()
_STREAMS_PER_CONNECTION = 256


def make_server(
    gate: Gate, address: Address, *, max_message_bytes: int, keepalive_seconds: float
) -> tuple[grpc.aio.Server, int]:
    """A server with its limits, and its port; raises SettingsInvalid if the port cannot be used.

    A connection that was silent for `keepalive_seconds` is pinged, and closed if no answer comes for as long again.
    A client that pings more than four times in that time is disconnected.
    """
    _refuse_taken(address)
    server = _make_server(gate, max_message_bytes, round(keepalive_seconds * 1000))
    return server, _listen(server, address)


def _make_server(gate: Gate, max_message_bytes: int, keepalive_ms: int) -> grpc.aio.Server:
    return grpc.aio.server(
        interceptors=[gate],
        options=[
            ("grpc.so_reuseport", 0),  # otherwise a second server would share the port without an error
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),  # checks.py limits what a request may ask for instead
            ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION),
            ("grpc.keepalive_time_ms", keepalive_ms),
            ("grpc.keepalive_timeout_ms", keepalive_ms),
            ("grpc.http2.ping_timeout_ms", keepalive_ms),  # a minute by default, whatever the line above says
            ("grpc.http2.bdp_probe", 0),  # otherwise gRPC pings amid data, and slow lines delay the answers
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),  # no limit: a watched job may change nothing for hours
            ("grpc.http2.min_ping_interval_without_data_ms", keepalive_ms // 4),
        ],
    )


def _listen(server: grpc.aio.Server, address: Address) -> int:
    if not address.is_loopback:
        log.warning(
            "listening beyond this machine without TLS or tokens: anyone who reaches the port can use it",
            address=address.text,
        )
    try:
        return server.add_insecure_port(address.text)
    except RuntimeError as error:  # its message gives no reason
        raise _cannot_listen(
            address, "gRPC cannot find it; write the host as a number, such as 127.0.0.1 or [::1]"
        ) from error


def _refuse_taken(address: Address) -> None:
    """Try the port with plain sockets first: gRPC would report a failure only on standard error, and at length."""
    try:
        places = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(address, "there is no host of this name") from error
    failures = [failure for place in places if (failure := _failure_to_bind(*place)) is not None]
    taken = [failure for failure in failures if failure.errno == errno.EADDRINUSE]
    if taken or len(failures) == len(places):  # a name may have several addresses, not all of this machine
        raise _cannot_listen(address, str((taken or failures)[0].strerror))


def _failure_to_bind(family: int, kind: int, protocol: int, _: str, place: Any) -> OSError | None:
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        return error
    return None


def _cannot_listen(address: Address, reason: str) -> SettingsInvalid:
    return SettingsInvalid(f"{NAME}: cannot listen on {printable(address.text)}: {reason}.")
