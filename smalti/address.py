"""Reads addresses of servers, HOST:PORT, for servers and clients alike."""

import ipaddress
import re
import socket
from dataclasses import dataclass

from smalti.errors import InvalidRequest, SmaltiError
from smalti.printable import printable

_LAST_PORT = 65535
_SHOWN = 80  # characters of a wrong address in a message
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def text(self) -> str:
        """HOST:PORT, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if (ip := _ip(self.host)) is None:
            return self.host.lower() == "localhost"
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return (mapped or ip).is_loopback

    @property
    def seen_from_here(self) -> "Address":
        """The address by which this machine reaches the server: loopback for one that listens everywhere."""
        ip = _ip(self.host)
        if ip is None or not ip.is_unspecified:
            return self
        return Address("127.0.0.1" if ip.version == 4 else "::1", self.port)


def parse_address(
    text: str,
    *,
    name: str = "The server's address",
    first_port: int = 1,
    refusal: type[SmaltiError] = InvalidRequest,
) -> Address:
    """The address in 'host:port'; otherwise raises `refusal`, with a message that begins with the name."""
    host, _, port = str(text).strip().rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= len(str(_LAST_PORT))
    if not (_is_host(host) and is_port and first_port <= int(port) <= _LAST_PORT):
        raise refusal(
            f"{name} is {_shown(text)}: write it as HOST:PORT, such as 127.0.0.1:50051 or [::1]:50051, "
            f"with a port from {first_port} to {_LAST_PORT}."
        )
    return Address(_in_full(host.strip("[]")), int(port))


def _in_full(host: str) -> str:
    """An IPv4 address with all four numbers: the system accepts 127.1 and 0, but gRPC does not."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return host


def _is_host(text: str) -> bool:
    if text.startswith("[") and text.endswith("]"):
        return isinstance(_ip(text[1:-1]), ipaddress.IPv6Address)
    return _NAME.fullmatch(text) is not None


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _shown(given: object) -> str:
    """A wrong address in a message: text in quotes, anything else as Python writes it."""
    if isinstance(given, str):
        return f"'{printable(given, longest=_SHOWN)}'"
    return printable(repr(given), longest=_SHOWN)
