"""Binds the port where the server shall listen, for one process or for several."""

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.address import NAME
from smalti.address import Address
from smalti.errors import SettingsInvalid
from smalti.printable import printable


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
    _, sockets = bind(address)
    for each in sockets:
        each.close()
    return Reserved(*bind(address, shares_port=True))


def bind(address: Address, *, shares_port: bool = False) -> tuple[int, Sequence[socket.socket]]:
    """The port, and sockets that are bound to it; raises SettingsInvalid if nobody can listen there.

    A name may have several addresses, not all of this machine. Port 0 takes any free port, the same for all.
    """
    port, sockets, failures = address.port, [], []
    for family, kind, protocol, _, place in _places(address):
        try:
            sockets.append(
                _bound(family, kind, protocol, (place[0], port, *place[2:]), shares_port=shares_port)
            )
            port = sockets[-1].getsockname()[1]
        except OSError as failure:
            failures.append(failure)
    taken = [failure for failure in failures if failure.errno == errno.EADDRINUSE]
    if taken or not sockets:
        for each in sockets:
            each.close()
        raise _cannot_listen(address, str((taken or failures)[0].strerror))
    return port, sockets


def _cannot_listen(address: Address, reason: str) -> SettingsInvalid:
    """The error for an address at which the server cannot listen."""
    return SettingsInvalid(f"{NAME}: cannot listen on {printable(address.text)}: {reason}.")


def _places(address: Address) -> Sequence[tuple[Any, Any, int, str, Any]]:
    try:
        return socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(address, "there is no host of this name") from error


def _bound(family: int, kind: int, protocol: int, place: Any, *, shares_port: bool) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shares_port else socket.SO_REUSEADDR, 1)
        bound.bind(place)
    except OSError:
        bound.close()
        raise
    return bound
