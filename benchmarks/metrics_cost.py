"""What metrics and statistics cost a one-shot request: `python -m benchmarks.metrics_cost [MODEL]`."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks import machine
from benchmarks.command import Benchmark
from benchmarks.running_server import decode_request, run_server
from benchmarks.server_processes import measure

_MODULES = {"with": "server", "without": "benchmarks.without_metrics"}


@click.command(cls=Benchmark)
@click.argument("model", default="digits-vae")
@click.option("--latent-size", default=10, show_default=True)
@click.option(
    "--rounds", default=15, show_default=True, help="Each measures both servers, one after the other."
)
@click.option("--seconds", default=2.0, show_default=True, help="For each server in each round.")
@click.option("--in-flight", "levels", multiple=True, type=int, default=(1, 64), show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    model: str, latent_size: int, rounds: int, seconds: float, levels: tuple[int, ...], file: Path | None
) -> None:
    """Send requests to MODEL, to a server as it is and to one that measures nothing.

    Both are up all the time and take turns, so that a busy machine slows both. CPU time is steadier than the rate.
    """
    request = decode_request(model, latent_size)
    click.echo(machine.headline())
    with run_server() as usual, run_server(module=_MODULES["without"]) as bare:
        servers = {"with": usual, "without": bare}
        found = {str(level): _compare(servers, request, level, rounds, seconds) for level in levels}
    for level, costs in found.items():
        click.echo(
            f"{level:>3} in flight  metrics cost {costs['cpu_percent']:+.1f} % of the server's CPU time a request"
            f" and {costs['rate_percent']:+.1f} % of the rate"
        )
    machine.write(file, {"model": model, "in_flight": found})


def _compare(
    servers: dict[str, tuple[str, int]], request: Any, level: int, rounds: int, seconds: float
) -> dict[str, float]:
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    for number in range(rounds):
        for name in sorted(servers, reverse=number % 2 == 1):  # who comes first takes turns, too
            address, process = servers[name]
            figures[name].append(asyncio.run(measure(address, process, request, level, seconds)))
    return {
        "cpu_percent": 100 * (_ratio(figures, "server_cpu_milliseconds_per_request") - 1),
        "rate_percent": 100 * (1 - _ratio(figures, "requests_per_second")),
    }


def _ratio(figures: dict[str, list[dict[str, float]]], name: str) -> float:
    """With metrics to without, the median of all rounds."""
    return median(_ratios(figures["with"], figures["without"], name))


def _ratios(first: Sequence[dict[str, float]], second: Sequence[dict[str, float]], name: str) -> list[float]:
    return [one[name] / other[name] for one, other in zip(first, second, strict=True)]


if __name__ == "__main__":
    main()
