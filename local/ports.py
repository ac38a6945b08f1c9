"""The ports of a whole system on this machine, and which of them are free."""

import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smalti.errors import SettingsInvalid

HOST = "127.0.0.1"

_LOWEST = 10_240
_LINUX_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_OF_OUTGOING_CONNECTIONS = 32_768  # where the system does not say it


class PortTaken(SettingsInvalid):
    """A port that the system needs is taken by another process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the processes listen, all on the loopback interface."""

    server: int
    server_metrics: int
    worker_metrics: tuple[int, ...]
    redis: int = 0

    def taken(self) -> Iterator[tuple[int, str]]:
        """The ports that other processes use already, and what the system needs them for."""
        wanted = {self.server: "the server", self.server_metrics: "the server's metrics", self.redis: "Redis"}
        wanted |= {
            port: f"the metrics of worker {number}"
            for number, port in enumerate(self.worker_metrics, start=1)
        }
        return ((port, part) for port, part in wanted.items() if port and not _is_free(port))


def free_ports(workers: int) -> Ports:
    """Ports that are free now.

    They lie below those of outgoing connections, which could take a free port before a process listens there; except
    where the system gives outgoing connections nearly all ports.
    """
    server, metrics, *others = _different_free_ports(workers + 2)
    return Ports(server=server, server_metrics=metrics, worker_metrics=tuple(others))


def free_port() -> int:
    """One such port."""
    return next(iter(_different_free_ports(1)))


def _different_free_ports(count: int) -> set[int]:
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(_LOWEST, _first_of_outgoing_connections())
        if _is_free(port):
            found.add(port)
    return found


def _first_of_outgoing_connections() -> int:
    """The system gives outgoing connections ports from here on: a free one there can be taken at any moment."""
    try:
        first = int(_LINUX_RANGE.read_text().split()[0])
    except OSError:
        first = _FIRST_OF_OUTGOING_CONNECTIONS
    return first if first > _LOWEST else _FIRST_OF_OUTGOING_CONNECTIONS


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT can be used
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
