"""A network line to a server that tests can make slow, or cut without telling either end."""

import socket
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Self


class Line:
    """Forwards TCP connections to an address of this machine. Clients connect to `address`."""

    def __init__(
        self,
        address: str,
        *,
        delay_seconds: float = 0.0,
        bytes_per_second: float = float("inf"),
        loses_reply: Callable[[], bool] = lambda: (
            False
        ),  # asked for each: it is lost, and its connection breaks
    ) -> None:
        host, port = address.rsplit(":", 1)
        self._far_end = host, int(port)
        self._delay_seconds = delay_seconds
        self._bytes_per_second = bytes_per_second
        self._loses_reply = loses_reply
        self._ends: list[socket.socket] = []
        self._frozen: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends:
            end.close()

    @property
    def connections(self) -> int:
        """The number of connections so far."""
        return len(self._ends) // 2

    def freeze(self) -> None:
        """Stop all data on the present connections, without closing them; new connections work."""
        self._frozen.update(self._ends)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._far_end)
            self._ends += [near, far]
            self._forward(near, far, loses=lambda: False)
            self._forward(far, near, loses=self._loses_reply)

    def _forward(self, source: socket.socket, target: socket.socket, *, loses: Callable[[], bool]) -> None:
        under_way: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        threading.Thread(target=self._read, args=(source, under_way, loses), daemon=True).start()
        threading.Thread(target=self._write, args=(target, under_way), daemon=True).start()

    def _read(
        self,
        source: socket.socket,
        under_way: "SimpleQueue[tuple[float, bytes]]",
        loses: Callable[[], bool],
    ) -> None:
        data = b"?"
        while data:
            try:
                data = source.recv(16384)
            except OSError:
                data = b""
            if data and loses():
                source.close()
                data = b""
            under_way.put((time.monotonic() + self._delay_seconds, data))

    def _write(self, target: socket.socket, under_way: "SimpleQueue[tuple[float, bytes]]") -> None:
        data = b"?"
        while data:
            due, data = under_way.get()
            time.sleep(max(0.0, due - time.monotonic()) + len(data) / self._bytes_per_second)
            if target in self._frozen:
                continue
            try:
                target.sendall(data) if data else target.shutdown(socket.SHUT_WR)
            except OSError:
                return
