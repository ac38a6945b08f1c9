"""Makes the gRPC server: its port and its limits."""

import grpc
import structlog

from server.calls import CallLimits
from server.gate import Gate
from server.reserving import cannot_listen, refuse_taken
from server.security.protection import Protection
from smalti.address import Address

log = structlog.get_logger()
# Twice as many as streams: when the gate refuses one more stream, other calls still find room. More than this wait in
# the client, so that one client's flood is not in everybody's way.
_CALLS_PER_CONNECTION = 2 * CallLimits().streams
# New requests use a new connection then; running ones, streams too, stay on the old one.
_CONNECTION_AGE_MS = 300_000


def make_server(
    gate: Gate,
    *,
    max_message_bytes: int,
    keepalive_seconds: float,
    shares_port: bool = False,
) -> grpc.aio.Server:
    """A server with its limits, which does not listen yet.

    A connection that was silent for `keepalive_seconds` is pinged, and closed if no answer comes for as long again.
    A client that pings more than four times in that time is disconnected. With `shares_port`, connections are renewed
    now and then, so that they spread over all processes.
    """
    keepalive_ms = round(keepalive_seconds * 1000)
    return grpc.aio.server(
        interceptors=[gate],
        options=[
            # If it were always 1, a second server would share the port without an error.
            ("grpc.so_reuseport", int(shares_port)),
            *([("grpc.max_connection_age_ms", _CONNECTION_AGE_MS)] if shares_port else []),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),  # checks.py limits what a request may ask for instead
            ("grpc.max_concurrent_streams", _CALLS_PER_CONNECTION),
            ("grpc.keepalive_time_ms", keepalive_ms),
            ("grpc.keepalive_timeout_ms", keepalive_ms),
            ("grpc.http2.ping_timeout_ms", keepalive_ms),  # a minute by default, whatever the line above says
            ("grpc.http2.bdp_probe", 0),  # otherwise gRPC pings amid data, and slow lines delay the answers
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),  # no limit: a watched job may change nothing for hours
            ("grpc.http2.min_ping_interval_without_data_ms", keepalive_ms // 4),
        ],
    )


def listen(
    server: grpc.aio.Server, address: Address, protection: Protection, *, is_reserved: bool = False
) -> int:
    """Take connections, which wait until the server starts; returns the port.

    The port must be free, or reserved for this process and others (server/reserving.py). Raises SettingsInvalid.
    """
    if not is_reserved:
        refuse_taken(address)
    if missing := protection.missing(address):
        log.warning(missing, address=address.text)
    try:
        if protection.certificates is None:
            return server.add_insecure_port(address.text)
        return server.add_secure_port(address.text, protection.certificates.for_server())
    except RuntimeError as error:  # its message gives no reason
        raise cannot_listen(
            address, "gRPC cannot find it; write the host as a number, such as 127.0.0.1 or [::1]"
        ) from error
