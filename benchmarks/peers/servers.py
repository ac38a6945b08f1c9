"""Starts smalti, MLServer and PyTriton with the same ONNX files, each on a port of its own."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import click
import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.peers.environments import python_of
from local.ports import free_port

_HERE = Path(__file__).parent
_START_SECONDS = 120.0
_TOKEN_HEADER = "triton-grpc-protocol-triton-access-token"
_TOKEN = "benchmark"  # PyTriton gives statistics and configurations only to who has its token
_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One running server, and how its clients ask it."""

    name: str
    address: str
    headers: Mapping[str, str] = field(default_factory=dict)
    has_configurations: bool = True  # perf_analyzer cannot do without ModelConfig


@contextmanager
def run_all(names: tuple[str, ...], files: Mapping[str, Path], folder: Path) -> Iterator[list[Server]]:
    """Start these servers and wait until each answers for every file; stop them afterwards."""
    with ExitStack() as stack:
        yield [stack.enter_context(_STARTS[name](files, folder)) for name in names]


@contextmanager
def _smalti(
    files: Mapping[str, Path], folder: Path, *, name: str = "smalti", processes: int = 1
) -> Iterator[Server]:
    repository = folder / name / "repository"
    for model, file in files.items():
        _copy(file, repository / model / "1" / "model.onnx")
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "SMALTI_LISTEN": address,
        "SMALTI_METRICS_PORT": "0",
        "SMALTI_REDIS_URL": "redis://127.0.0.1:1",  # one-shot requests do not need it
        "SMALTI_MODEL_REPOSITORY": str(repository),
        "SMALTI_SERVER_PROCESSES": str(processes),
    }
    with _running([sys.executable, "-m", "server"], settings, folder / name):
        yield _ready(Server(name=name, address=address), files)


@contextmanager
def _mlserver(files: Mapping[str, Path], folder: Path) -> Iterator[Server]:
    place, port = folder / "mlserver-models", free_port()
    _write(place / "settings.json", _mlserver_settings(port))
    for name, file in files.items():
        _write(place / name / "model-settings.json", _mlserver_model(name, file))
    command = [python_of("mlserver", folder).parent / "mlserver", "start", place]
    with _running(command, {"PYTHONPATH": str(_HERE)}, place):
        server = Server(name="mlserver", address=f"127.0.0.1:{port}", has_configurations=False)
        yield _ready(server, files)


def _mlserver_settings(port: int) -> dict[str, object]:
    return {
        "host": "127.0.0.1",
        "grpc_port": port,
        "http_port": free_port(),
        "metrics_port": free_port(),
        "grpc_max_message_length": -1,
        "parallel_workers": 0,  # the default, a pool of processes, is slower for a model this small
    }


def _mlserver_model(name: str, file: Path) -> dict[str, object]:
    return {
        "name": name,
        "implementation": "with_mlserver.OnnxRuntime",
        "parameters": {"uri": str(file.resolve())},
        "max_batch_size": 64,
        "max_batch_time": 0.001,
    }


@contextmanager
def _pytriton(files: Mapping[str, Path], folder: Path) -> Iterator[Server]:
    place, port = folder / "pytriton-run", free_port()
    models = [f"{name}={file.resolve()}" for name, file in files.items()]
    command = [python_of("pytriton", folder), _HERE / "with_pytriton.py", port, _TOKEN, *models]
    # Its server is linked with this Python's library.
    with _running(command, {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}, place):
        server = Server(name="pytriton", address=f"127.0.0.1:{port}", headers={_TOKEN_HEADER: _TOKEN})
        yield _ready(server, files)


_STARTS: dict[str, Any] = {
    "smalti": _smalti,
    "smalti-2": partial(_smalti, name="smalti-2", processes=2),
    "mlserver": _mlserver,
    "pytriton": _pytriton,
}
NAMES = tuple(_STARTS)


@contextmanager
def _running(command: list[object], settings: Mapping[str, str], place: Path) -> Iterator[None]:
    """A process with its output in a file beside what it serves."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [str(part) for part in command], env=os.environ | settings, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _ready(server: Server, files: Mapping[str, Path]) -> Server:
    deadline = perf_counter() + _START_SECONDS
    with grpc.insecure_channel(server.address, _OPTIONS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for name in files:
            while not _is_ready(stub, name):
                if perf_counter() > deadline:
                    raise click.ClickException(
                        f"{server.name} did not serve {name} in {_START_SECONDS:.0f} s."
                    )
                sleep(0.2)
    return server


def _is_ready(stub: service_pb2_grpc.GRPCInferenceServiceStub, model: str) -> bool:
    try:
        return bool(stub.ModelReady(service_pb2.ModelReadyRequest(name=model), timeout=5).ready)
    except grpc.RpcError:  # not listening yet, or not this model
        return False


def _copy(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(file.read_bytes())


def _write(file: Path, content: Mapping[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
