"""Where a server listens: SMALTI_LISTEN, read."""

import ipaddress
from dataclasses import dataclass

from smalti.errors import SettingsInvalid


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
