"""One-shot requests by server processes, and their cost: `python -m benchmarks.server_processes [MODEL]`."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import click
import grpc

from benchmarks import machine
from benchmarks.command import Benchmark
from benchmarks.quantiles import milliseconds
from benchmarks.running_server import cpu_seconds, decode_request, run_server
from smalti.v1 import images_pb2_grpc

_CONNECTIONS = 16  # at most; with one connection, one process would answer everything
# Without the second option, channels would share a connection.
_OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


@click.command(cls=Benchmark)
@click.argument("model", default="digits-vae")
@click.option("--latent-size", default=10, show_default=True)
@click.option("--seconds", default=5.0, show_default=True, help="For each number of requests in flight.")
@click.option("--processes", "counts", multiple=True, type=int, default=(1, 2), show_default=True)
@click.option("--in-flight", "levels", multiple=True, type=int, default=(1, 16, 64), show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    model: str,
    latent_size: int,
    seconds: float,
    counts: tuple[int, ...],
    levels: tuple[int, ...],
    file: Path | None,
) -> None:
    """Send requests to MODEL; each decodes one latent.

    The client runs on the same cores and takes its part of them, so with few cores the rate cannot grow; the server's
    CPU time for a request says how many requests a second its cores could answer.
    """
    request = decode_request(model, latent_size)
    click.echo(machine.headline())
    found: dict[str, dict[str, Any]] = {}
    for count in counts:
        with run_server(processes=count) as (address, server):
            found[str(count)] = {
                str(level): asyncio.run(measure(address, server, request, level, seconds)) for level in levels
            }
        for level, figures in found[str(count)].items():
            _print(count, level, figures)
    machine.write(file, {"model": model, "processes": found})


async def measure(
    address: str, server: int, request: Any, in_flight: int, seconds: float
) -> dict[str, float]:
    """Rate, latencies and costs of a server (its address and process id) that answers this request again and again."""
    latencies: list[float] = []
    async with AsyncExitStack() as stack:
        stubs = [await _connected(stack, address, request) for _ in range(min(in_flight, _CONNECTIONS))]
        server_before, client_before = cpu_seconds(server), process_time()
        end = perf_counter() + seconds

        async def repeat(stub: Any) -> None:
            while (start := perf_counter()) < end:
                await stub.Decode(request)
                latencies.append(perf_counter() - start)

        await asyncio.gather(*(repeat(stubs[number % len(stubs)]) for number in range(in_flight)))
        server_spent, client_spent = cpu_seconds(server) - server_before, process_time() - client_before
    return {
        "requests_per_second": len(latencies) / seconds,
        "p50_milliseconds": milliseconds(latencies, 0.5),
        "p99_milliseconds": milliseconds(latencies, 0.99),
        "server_cpu_milliseconds_per_request": 1000 * server_spent / len(latencies),
        "client_cores": client_spent / seconds,
        "server_cores": server_spent / seconds,
    }


async def _connected(stack: AsyncExitStack, address: str, request: Any) -> Any:
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, _OPTIONS))
    stub: Any = images_pb2_grpc.ImageServiceStub(channel)
    await stub.Decode(request)  # opens the connection
    return stub


def _print(processes: int, in_flight: str, found: dict[str, float]) -> None:
    click.echo(
        f"{processes} processes  {in_flight:>3} in flight  {found['requests_per_second']:6.0f} requests/s"
        f"  p50 {found['p50_milliseconds']:.2f} ms  p99 {found['p99_milliseconds']:.2f} ms"
        f"  server {found['server_cpu_milliseconds_per_request']:.3f} ms of CPU a request,"
        f" {found['server_cores']:.2f} cores; client {found['client_cores']:.2f}"
    )


if __name__ == "__main__":
    main()
