"""Tries the port where the server shall listen, and reserves it for several processes."""

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.address import NAME
from smalti.address import Address
from smalti.errors import SettingsInvalid
from smalti.printable import printable


def refuse_taken(address: Address) -> None:
    """Raise SettingsInvalid if nobody can listen there; plain sockets give reasons that gRPC does not."""
    places = _places(address)
    failures = [failure for place in places if (failure := _failure_to_bind(*place)) is not None]
    taken = [failure for failure in failures if failure.errno == errno.EADDRINUSE]
    if taken or len(failures) == len(places):  # a name may have several addresses, not all of this machine
        raise cannot_listen(address, str((taken or failures)[0].strerror))


@dataclass(frozen=True, slots=True)
class Reserved:
    """A port that processes of this user may share, and nobody else can take, until `close`."""

    port: int
    sockets: Sequence[socket.socket]

    def close(self) -> None:
        """Give the port back."""
        for each in self.sockets:
            each.close()


def reserve(address: Address) -> Reserved:
    """Bind the port, without listening: it takes no connections. Port 0 takes any free one. Raises SettingsInvalid.

    A port that another process uses is refused, even if that process would share it.
    """
    refuse_taken(address)
    port, sockets = address.port, []
    for family, kind, protocol, _, place in _places(address):
        try:
            sockets.append(_bound(family, kind, protocol, (place[0], port, *place[2:])))
        except OSError as error:
            failure = error
            continue
        port = sockets[-1].getsockname()[1]
    if not sockets:
        raise cannot_listen(address, str(failure.strerror))
    return Reserved(port, sockets)


def cannot_listen(address: Address, reason: str) -> SettingsInvalid:
    """The error for an address at which the server cannot listen."""
    return SettingsInvalid(f"{NAME}: cannot listen on {printable(address.text)}: {reason}.")


def _places(address: Address) -> Sequence[tuple[Any, Any, int, str, Any]]:
    try:
        return socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(address, "there is no host of this name") from error


def _failure_to_bind(family: int, kind: int, protocol: int, _: str, place: Any) -> OSError | None:
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        return error
    return None


def _bound(family: int, kind: int, protocol: int, place: Any) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(place)
    except OSError:
        bound.close()
        raise
    return bound
