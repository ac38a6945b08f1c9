"""Starts a server for a benchmark of one-shot requests, and makes the request."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

import click

from local.ports import free_port
from smalti.client.health import ask
from smalti.v1 import images_pb2, types_pb2

_IMAGES = "smalti.v1.ImageService"
_START_SECONDS = 60.0


@contextmanager
def run_server(
    *, processes: int = 1, module: str = "server", others: Mapping[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """Start a server on a free port, with `others` as settings, and without Redis: one-shot requests do not need it.

    `module` is run in place of `server`, and makes one. Yields its address and its process id, once it is ready.
    """
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "SMALTI_LISTEN": address,
        "SMALTI_METRICS_PORT": "0",
        "SMALTI_REDIS_URL": "redis://127.0.0.1:1",
        "SMALTI_SERVER_PROCESSES": str(processes),
        **(others or {}),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", module], env=os.environ | settings, stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_ready(address)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(address: str) -> None:
    deadline = perf_counter() + _START_SECONDS
    while ask(address, _IMAGES) != "SERVING":
        if perf_counter() > deadline:
            raise click.ClickException(f"The server at {address} was not ready in {_START_SECONDS:.0f} s.")
        sleep(0.05)


def decode_request(model: str, latent_size: int) -> images_pb2.DecodeRequest:
    """A request to decode one latent into pixels."""
    return images_pb2.DecodeRequest(
        model=types_pb2.ModelVersion(name=model),
        latents=[types_pb2.Latent(values=[0.1] * latent_size)],
        format=types_pb2.IMAGE_FORMAT_PIXELS,
    )


def cpu_seconds(pid: int) -> float:
    """What a process and those that it started have used and still run; Linux only."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _own_cpu_seconds(pid) + sum(cpu_seconds(int(child)) for child in children)


def _own_cpu_seconds(pid: int) -> float:
    """Of its threads that still run: the kernel counts them in nanoseconds, and whole processes in hundredths."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e9
