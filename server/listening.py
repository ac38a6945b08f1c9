"""Makes the gRPC server: its port, its limits and its encryption."""

import structlog

from server.calls import CallLimits
from server.gate import Gate
from server.http2.connection import Limits
from server.http2.server import Server
from server.reserving import bind
from server.security.protection import Protection
from smalti.address import Address

log = structlog.get_logger()
# Twice as many as streams: when the gate refuses one more stream, other calls still find room. More than this wait in
# the client, so that one client's flood is not in everybody's way.
_CALLS_PER_CONNECTION = 2 * CallLimits().streams
# New requests use a new connection then; running ones, streams too, stay on the old one.
_CONNECTION_AGE_SECONDS = 300.0


def make_server(
    gate: Gate,
    protection: Protection,
    *,
    max_message_bytes: int,
    keepalive_seconds: float,
    shares_port: bool = False,
) -> Server:
    """A server with its limits, which does not listen yet.

    A connection that was silent for `keepalive_seconds` is pinged, and closed if no answer comes for as long again.
    A client that pings more than four times in that time is disconnected. With `shares_port`, connections are renewed
    now and then, so that they spread over all processes.
    """
    limits = Limits(
        calls=_CALLS_PER_CONNECTION,
        message_bytes=max_message_bytes,
        keepalive_seconds=keepalive_seconds,
        age_seconds=_CONNECTION_AGE_SECONDS if shares_port else None,
    )
    return Server(gate.answer, limits, protection.encryption)


def listen(server: Server, address: Address, protection: Protection, *, is_reserved: bool = False) -> int:
    """Take connections, which wait until the server starts; returns the port.

    The port must be free, or reserved for this process and others (server/reserving.py). Raises SettingsInvalid.
    """
    if missing := protection.missing(address):
        log.warning(missing, address=address.text)
    port, sockets = bind(address, shares_port=is_reserved)
    server.listen(sockets)
    return port
