"""The ports of a whole system on this machine, and which of them are free."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from smalti.errors import SettingsInvalid

HOST = "127.0.0.1"


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
    """Ports that are free now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(workers + 2)]
        for probe in probes:
            probe.bind((HOST, 0))
        server, metrics, *others = (probe.getsockname()[1] for probe in probes)
    return Ports(server=server, server_metrics=metrics, worker_metrics=tuple(others))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT can be used
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
