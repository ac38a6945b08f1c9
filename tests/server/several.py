"""A server of several processes for tests: real processes, and connections to each of them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from smalti.address import parse_address
from smalti.client.channel import options
from smalti.v1 import images_pb2, images_pb2_grpc, models_pb2_grpc, types_pb2


class Several:
    """A running `python -m server` whose log goes into a file, one JSON object a line."""

    def __init__(self, settings: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("w") as file:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "server"],
                env=os.environ | {"SMALTI_LOG_FORMAT": "json", **settings},
                stderr=file,
            )

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log with this event."""
        lines = self._log.read_text().splitlines(keepends=True)
        return [
            line for each in lines if each.endswith("\n") and (line := json.loads(each))["event"] == event
        ]

    def log(self) -> str:
        """The whole log."""
        return self._log.read_text()

    @property
    def address(self) -> str:
        """Where it listens, as its log says."""
        [started] = self.said("all processes started")
        return f"127.0.0.1:{started['port']}"

    @property
    def metrics_url(self) -> str:
        """Where its metrics are, as its log says."""
        [served] = self.said("metrics served")
        return f"http://127.0.0.1:{served['port']}/metrics"

    def pids(self) -> list[int]:
        """The processes that the supervisor has started and that run."""
        pid = self.supervisor.pid
        try:
            return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def has_started(self) -> bool:
        """Whether every process listens; fails if the server has ended."""
        assert self.supervisor.poll() is None, self.log()
        listening = {line["process"] for line in self.said("listening")}
        return bool(self.said("all processes started")) and len(listening) == len(self.pids())

    def connections(self, pid: int) -> int:
        """How many clients are connected to a process."""
        port = int(self.address.rpartition(":")[2])
        tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
        rows = [line.split() for table in tables for line in table.splitlines()[1:]]
        sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}
        return sum(os.readlink(file) in sockets for file in _open_files(pid))

    def end(self) -> None:
        """Kill it, and all its processes."""
        left = self.pids()
        self.supervisor.kill()
        self.supervisor.wait()
        for pid in left:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def _open_files(pid: int) -> Iterator[Path]:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        if file.is_symlink():
            yield file


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Connection:
    """One connection of its own, so to one process; `decode` and the stub of ModelService use it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.models: Any = models_pb2_grpc.ModelServiceStub(channel)
        self._images: Any = images_pb2_grpc.ImageServiceStub(channel)

    async def decode(self, model: str = "toy-vae", images: int = 1) -> bytes:
        """Decode as many equal latents; the pixels."""
        request = images_pb2.DecodeRequest(
            model=types_pb2.ModelVersion(name=model),
            latents=[types_pb2.Latent(values=[0.5, -1.0, 2.0])] * images,
            format=types_pb2.IMAGE_FORMAT_PIXELS,
        )
        reply = await self._images.Decode(request)
        return bytes(reply.SerializeToString())


@asynccontextmanager
async def connect(address: str, count: int) -> AsyncIterator[list[Connection]]:
    """So many connections; gRPC's channels would share one otherwise."""
    own = [*options(parse_address(address, name="address")), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, own) for _ in range(count)]
    try:
        yield [Connection(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()
