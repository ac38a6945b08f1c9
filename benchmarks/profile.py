"""Where the time of a row goes inside onnxruntime, by its own profiler: `python -m benchmarks.profile [MODEL]`.

The profiler adds a microsecond or two to each node, so small nodes look slower than they are. The shares are good for
comparing; the time of a row is measured without the profiler.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from benchmarks import machine
from benchmarks.command import Benchmark, drawing_model
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model
from smalti.runtime.session import open_graph

RUNS = 20
PRODUCTS = frozenset({"MatMul", "Gemm", "FusedGemm", "MatMulInteger"})


@click.command(cls=Benchmark)
@click.argument("model", default="sprites-pixel-rnn")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--batch", type=click.IntRange(1), default=32)
@click.option("--threads", type=click.IntRange(1), default=1, help="Of onnxruntime, within one operator.")
@click.option("--top", type=click.IntRange(1), default=12, help="Kinds of nodes to print.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(model: str, repository: Path, batch: int, threads: int, top: int, file: Path | None) -> None:
    """Print which kinds of nodes take most of the time of a row of MODEL."""
    chosen = drawing_model(repository, model)
    seconds = _row_seconds(chosen, batch, threads)
    nodes, spent = profile(chosen, batch, threads)
    total, columns = sum(spent.values()), chosen.manifest.width
    products = sum(spent[kind] for kind in PRODUCTS)
    click.echo(f"{model}, {batch} in a batch, {threads} threads\n{machine.headline()}")
    per_pixel = sum(nodes.values()) / columns
    click.echo(
        f"{1e3 * seconds:.2f} ms a row; {per_pixel:.0f} nodes a pixel; products {products / total:.0%}"
    )
    for kind, share in spent.most_common(top):
        click.echo(f"{kind:<18} {share / total:6.1%} {nodes[kind] / columns:7.1f} a pixel")
    shares = {kind: share / total for kind, share in spent.most_common()}
    figures = {"row_milliseconds": 1e3 * seconds, "nodes_per_row": sum(nodes.values()), "shares": shares}
    machine.write(file, {"model": model, "batch": batch, "threads": threads, **figures})


def profile(model: Model, batch: int, threads: int) -> tuple[Counter[str], Counter[str]]:
    """The number of nodes of each kind in a row, and their microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_graph(model, GRAPH, provider=Provider(threads=threads), profile=Path(folder) / "row")
        _run(session, batch)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event for event in events if event["name"].endswith("_kernel_time")]
    nodes = Counter(event["args"]["op_name"] for event in kernels)
    spent: Counter[str] = Counter()
    for event in kernels:
        spent[event["args"]["op_name"]] += event["dur"]
    return (
        Counter({kind: count // RUNS for kind, count in nodes.items()}),
        Counter({kind: micros // RUNS for kind, micros in spent.items()}),
    )


def _row_seconds(model: Model, batch: int, threads: int) -> float:
    return median(_run(open_graph(model, GRAPH, provider=Provider(threads=threads)), batch)[1:])


def _run(session: InferenceSession, batch: int) -> list[float]:
    feeds, spent = _feeds(session, batch), []
    for _ in range(RUNS):
        started = perf_counter()
        session.run(None, feeds)
        spent.append(perf_counter() - started)
    return spent


def _feeds(session: InferenceSession, batch: int) -> dict[str, NDArray[Any]]:
    """The inputs of a first row: state does not matter there, only random numbers and temperatures."""
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
    feeds = {
        value.name: np.zeros((batch, *value.shape[1:]), dtype=kinds[value.type])
        for value in session.get_inputs()
    }
    numbers = np.asarray(np.random.default_rng(0).random(feeds["uniform"].shape))
    return feeds | {
        "reset": ~feeds["reset"],
        "uniform": (1.0 - numbers).astype(np.float32),
        "forced": feeds["forced"] - 1,
        "temperature": feeds["temperature"] + 1,
    }


if __name__ == "__main__":
    main()
