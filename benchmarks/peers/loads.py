"""Sends requests to a server, with perf_analyzer or with a client in Python, and measures rate and latency."""

import asyncio
import csv
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import click
import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.peers.environments import perf_analyzer
from benchmarks.peers.graphs import INPUT, LATENT
from benchmarks.peers.servers import Server
from benchmarks.quantiles import milliseconds

_CONNECTIONS = 4  # of the Python client, at most
_OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else channels would share a connection
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one client saw of one server."""

    requests_per_second: float
    p99_milliseconds: float


def with_perf_analyzer(
    server: Server, model: str, in_flight: int, *, seconds: float, folder: Path
) -> Figures:
    """One window of perf_analyzer, which is written in C++ and leaves the cores to the server."""
    program, libraries = perf_analyzer(folder)
    table = folder / "perf_analyzer.csv"
    table.unlink(missing_ok=True)
    command: list[object] = [program, "-i", "grpc", "-u", server.address, "-m", model]
    command += ["--concurrency-range", in_flight, "-p", int(1000 * seconds), "-f", table, "--percentile", 99]
    command += ["--max-trials", 3, "--stability-percentage", 999]  # one window: the rounds show the spread
    for name, value in server.headers.items():
        command += ["-H", f"{name}:{value}"]
    done = subprocess.run(
        [str(part) for part in command],
        env=os.environ | {"LD_LIBRARY_PATH": str(libraries)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not table.exists():
        raise click.ClickException(f"perf_analyzer failed at {server.name}:\n{done.stdout}{done.stderr}")
    with table.open(newline="") as file:
        [row] = csv.DictReader(file)
    return Figures(
        requests_per_second=float(row["Inferences/Second"]), p99_milliseconds=float(row["p99 latency"]) / 1000
    )


def with_python(server: Server, model: str, in_flight: int, *, seconds: float) -> Figures:
    """The same client for every server; it takes a core itself."""
    return asyncio.run(_with_python(server, model, in_flight, seconds))


async def _with_python(server: Server, model: str, in_flight: int, seconds: float) -> Figures:
    request = _request(model)
    channels = [
        grpc.aio.insecure_channel(server.address, _OPTIONS) for _ in range(min(in_flight, _CONNECTIONS))
    ]
    stubs = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
    await asyncio.gather(*(stub.ModelInfer(request) for stub in stubs))  # opens the connections
    latencies: list[float] = []
    end = perf_counter() + seconds

    async def repeat(stub: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
        while (start := perf_counter()) < end:
            await stub.ModelInfer(request)
            latencies.append(perf_counter() - start)

    start = perf_counter()
    await asyncio.gather(*(repeat(stubs[number % len(stubs)]) for number in range(in_flight)))
    taken = perf_counter() - start
    for channel in channels:
        await channel.close()
    return Figures(requests_per_second=len(latencies) / taken, p99_milliseconds=milliseconds(latencies, 0.99))


def _request(model: str) -> service_pb2.ModelInferRequest:
    latents = np.random.default_rng(0).normal(size=(1, LATENT)).astype(np.float32)
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name=INPUT, datatype="FP32", shape=latents.shape)
    return service_pb2.ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[latents.tobytes()]
    )
