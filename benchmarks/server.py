"""One-shot requests per second and their latencies, by requests in flight: `python -m benchmarks.server [MODEL]`."""

import asyncio
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import grpc

from benchmarks import machine
from benchmarks.command import Benchmark
from benchmarks.quantiles import milliseconds
from benchmarks.running_server import decode_request, run_server
from smalti.v1 import images_pb2_grpc


@click.command(cls=Benchmark)
@click.argument("model", default="digits-vae")
@click.option("--latent-size", default=10, show_default=True)
@click.option("--seconds", default=5.0, show_default=True, help="For each number of requests in flight.")
@click.option("--in-flight", "levels", multiple=True, type=int, default=(1, 16, 64), show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(model: str, latent_size: int, seconds: float, levels: tuple[int, ...], file: Path | None) -> None:
    """Send requests to MODEL; each decodes one latent."""
    request = decode_request(model, latent_size)
    click.echo(machine.headline())
    found = {}
    with run_server() as (address, _):
        for in_flight in levels:
            latencies = asyncio.run(_measure(address, request, in_flight, seconds))
            found[str(in_flight)] = _figures(latencies, seconds)
            _print(model, in_flight, found[str(in_flight)])
    machine.write(file, {"model": model, "in_flight": found})


async def _measure(address: str, request: Any, in_flight: int, seconds: float) -> list[float]:
    """Latencies in seconds."""
    latencies: list[float] = []
    async with grpc.aio.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        stub: Any = images_pb2_grpc.ImageServiceStub(channel)
        await stub.Decode(request)  # opens the connection
        end = perf_counter() + seconds

        async def repeat() -> None:
            while (start := perf_counter()) < end:
                await stub.Decode(request)
                latencies.append(perf_counter() - start)

        await asyncio.gather(*(repeat() for _ in range(in_flight)))
    return latencies


def _figures(latencies: list[float], seconds: float) -> dict[str, float]:
    return {
        "requests_per_second": len(latencies) / seconds,
        "p50_milliseconds": milliseconds(latencies, 0.5),
        "p99_milliseconds": milliseconds(latencies, 0.99),
    }


def _print(model: str, in_flight: int, found: dict[str, float]) -> None:
    rate, p50, p99 = found.values()
    click.echo(
        f"{model}.decode  {in_flight:3} in flight  {rate:6.0f} requests/s  p50 {p50:.2f} ms  p99 {p99:.2f} ms"
    )


if __name__ == "__main__":
    main()
