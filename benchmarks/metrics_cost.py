"""What metrics and statistics cost a one-shot request: `python -m benchmarks.metrics_cost [MODEL]`."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from timeit import repeat
from typing import Any

import click

from benchmarks import machine
from benchmarks.command import Benchmark
from benchmarks.running_server import decode_request, run_server
from benchmarks.server_processes import measure
from server.oneshot.statistics import GraphStatistics, RunTimes
from smalti.runtime import metrics

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

    Both are up all the time and take turns, so that a busy machine slows both. Where other programs run, that still
    varies by more than metrics cost, so the calls that a request makes are timed alone as well.
    """
    request = decode_request(model, latent_size)
    click.echo(machine.headline())
    with run_server() as usual, run_server(module=_MODULES["without"]) as bare:
        servers = {"with": usual, "without": bare}
        found = {str(level): _compare(servers, request, level, rounds, seconds) for level in levels}
    for level, costs in found.items():
        click.echo(
            f"{level:>3} in flight  metrics cost {costs['cpu_percent']:+.1f} % of the server's CPU time a request"
            f" ({costs['cpu_milliseconds']:.3f} ms) and {costs['rate_percent']:+.1f} % of the rate"
        )
    per_request, per_run = _microseconds(_of_a_request()), _microseconds(_of_a_run())
    click.echo(
        f"the calls alone, in µs of CPU time: {per_request:.1f} for a request, {per_run:.1f} for a run"
    )
    for level, costs in found.items():
        whole = 1000 * costs["cpu_milliseconds"]
        shares = [f"{100 * cost / whole:.1f} %" for cost in (per_request, per_request + per_run)]
        click.echo(
            f"{level:>3} in flight  {shares[0]} of a request's CPU time, {shares[1]} with a run of its own"
        )
    costs_alone = {"request_microseconds": per_request, "run_microseconds": per_run}
    machine.write(file, {"model": model, "in_flight": found} | costs_alone)


def _compare(
    servers: dict[str, tuple[str, int]], request: Any, level: int, rounds: int, seconds: float
) -> dict[str, float]:
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    for number in range(rounds):
        for name in sorted(servers, reverse=number % 2 == 1):  # who comes first takes turns, too
            address, process = servers[name]
            figures[name].append(asyncio.run(measure(address, process, request, level, seconds)))
    usual, bare = figures["with"], figures["without"]
    return {
        "cpu_milliseconds": _cpu_milliseconds(usual),
        "cpu_percent": 100 * (_cpu_milliseconds(usual) / _cpu_milliseconds(bare) - 1),
        "rate_percent": 100 * (1 - _rate(usual) / _rate(bare)),
    }


def _cpu_milliseconds(rounds: Sequence[dict[str, float]]) -> float:
    """Of the server, for a request of the cheapest round: whatever else runs makes requests dearer, never cheaper."""
    return min(each["server_cpu_milliseconds_per_request"] for each in rounds)


def _microseconds(calls: Callable[[], None]) -> float:
    return 1e6 * min(repeat(calls, number=1000, repeat=50, timer=process_time)) / 1000


def _of_a_request() -> Callable[[], None]:
    """What the gate and the batcher do for the metrics of a request."""
    running: Counter[tuple[str, str]] = Counter()
    seconds = metrics.RPC_SECONDS.labels("service", "method", "OK")
    wait = metrics.BATCH_WAIT_SECONDS.labels("model", "graph")
    statistics, times = GraphStatistics(), RunTimes(1, 1, 1)

    def calls() -> None:
        running["service", "method"] += 1
        wait.observe(0.001)
        statistics.add_success(1, whole=1, queue=1, times=times)
        running["service", "method"] -= 1
        seconds.observe(0.001)

    return calls


def _of_a_run() -> Callable[[], None]:
    """What the batcher does for the metrics of a run."""
    compute = metrics.BATCH_COMPUTE_SECONDS.labels("model", "graph")
    entries = metrics.BATCH_ENTRIES.labels("model", "graph")
    statistics, times = GraphStatistics(), RunTimes(1, 1, 1)

    def calls() -> None:
        compute.observe(0.001)
        entries.observe(1)
        statistics.add_run(1, times)

    return calls


def _rate(rounds: Sequence[dict[str, float]]) -> float:
    return median(each["requests_per_second"] for each in rounds)


if __name__ == "__main__":
    main()
