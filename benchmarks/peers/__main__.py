"""Compares smalti with MLServer and PyTriton on the same ONNX file: `python -m benchmarks.peers`.

All servers are up at once, and are measured in turns on the same cores. perf_analyzer comes first: a client in Python
takes a core itself and hides what a server can do. The first run downloads the other servers into out/peers.
`make bench` does not run it.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import click

from benchmarks import machine
from benchmarks.command import Benchmark
from benchmarks.peers import graphs
from benchmarks.peers.loads import Figures, with_perf_analyzer, with_python
from benchmarks.peers.servers import NAMES, Server, run_all

_OWN = "smalti"
Case = tuple[str, str, int]  # client, model, requests in flight


@click.command(cls=Benchmark)
@click.option("--server", "names", multiple=True, type=click.Choice(NAMES), default=NAMES)
@click.option("--client", "clients", multiple=True, default=("perf_analyzer", "python"), show_default=True)
@click.option("--model", "models", multiple=True, default=(graphs.SMALL, graphs.LARGE), show_default=True)
@click.option("--in-flight", "levels", multiple=True, type=int, default=(1, 16, 64), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1), default=3.0, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("out/peers"), show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    names: tuple[str, ...],
    clients: tuple[str, ...],
    models: tuple[str, ...],
    levels: tuple[int, ...],
    rounds: int,
    seconds: float,
    folder: Path,
    file: Path | None,
) -> None:
    """Each figure is the median of its rounds. smalti-2 is smalti with two server processes."""
    click.echo(machine.headline())
    files = graphs.write(folder / "models")
    cases = [(client, model, level) for client in clients for model in models for level in levels]
    found: dict[str, dict[str, Figures]] = {}
    with run_all(names, files, folder) as servers:
        for case in cases:
            figures = _measure(servers, case, rounds, seconds, folder)
            found[" ".join(map(str, case))] = figures
            _print(case, figures)
    machine.write(file, {"cases": {case: _plain(figures) for case, figures in found.items()}})


def _measure(
    servers: list[Server], case: Case, rounds: int, seconds: float, folder: Path
) -> dict[str, Figures]:
    """Each server in turn, round after round, so that all see the same machine."""
    seen: defaultdict[str, list[Figures]] = defaultdict(list)
    for _ in range(rounds):
        for server in servers:
            if (figures := _once(server, case, seconds, folder)) is not None:
                seen[server.name].append(figures)
    return {name: _median(figures) for name, figures in seen.items()}


def _once(server: Server, case: Case, seconds: float, folder: Path) -> Figures | None:
    client, model, level = case
    if client == "python":
        return with_python(server, model, level, seconds=seconds)
    if server.has_configurations:
        return with_perf_analyzer(server, model, level, seconds=seconds, folder=folder)
    return None


def _median(figures: list[Figures]) -> Figures:
    return Figures(
        requests_per_second=median(each.requests_per_second for each in figures),
        p99_milliseconds=median(each.p99_milliseconds for each in figures),
    )


def _print(case: Case, figures: Mapping[str, Figures]) -> None:
    client, model, level = case
    click.echo(f"{client}, {model}, {level} in flight")
    for name, each in figures.items():
        click.echo(
            f"  {name:<9}{each.requests_per_second:7.0f} requests/s  p99 {each.p99_milliseconds:7.1f} ms"
            f"{_ratios(name, figures)}"
        )


def _ratios(name: str, figures: Mapping[str, Figures]) -> str:
    """How many times as many requests each form of smalti answers."""
    if name.startswith(_OWN):
        return ""
    rate = figures[name].requests_per_second
    own = {each: figures[each].requests_per_second for each in figures if each.startswith(_OWN)}
    return "".join(f"  {each} {value / rate:.2f} x" for each, value in own.items())


def _plain(figures: Mapping[str, Figures]) -> dict[str, dict[str, float]]:
    return {
        name: {"requests_per_second": each.requests_per_second, "p99_milliseconds": each.p99_milliseconds}
        for name, each in figures.items()
    }


if __name__ == "__main__":
    main()
