"""Finds the addresses of a target that may be reached. The name of an allowed target may lead to an inner address."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from server.webhooks.targets import Url

Address = IPv4Address | IPv6Address
# These hold an address of IPv4, which a gateway may reach for us.
_TRANSLATED = tuple(map(ip_network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")))


class Unreachable(Exception):
    """Why a webhook did not arrive, in words that may be logged."""


class Networks:
    """All public addresses, and the inner networks that the operator allows, such as 10.1.2.0/24."""

    def __init__(self, allowed: str) -> None:
        self._allowed = [ip_network(each.strip()) for each in allowed.split(",") if each.strip()]

    def allow(self, text: str) -> bool:
        """Whether this address may be reached."""
        address = _plain(ip_address(text.partition("%")[0]))
        if any(address in network for network in self._allowed):
            return True
        return address.is_global and not address.is_multicast and not _is_translated(address)

    async def resolve(self, url: Url) -> Sequence[str]:
        """The addresses of a host that may be reached; raises Unreachable if there is none."""
        try:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(url.host.strip("[]"), url.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unreachable("its name has no address") from error
        addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
        allowed = [address for address in addresses if self.allow(address)]
        if not allowed:
            raise Unreachable("its address is not public, and SMALTI_WEBHOOK_NETWORKS does not name it")
        return allowed


def _plain(address: Address) -> Address:
    """An address of IPv4 that is written as one of IPv6 is that of IPv4."""
    return getattr(address, "ipv4_mapped", None) or address


def _is_translated(address: Address) -> bool:
    return any(address in network for network in _TRANSLATED)
