"""How fast a worker's runner draws, compared with other ways to draw: `python -m benchmarks.engine [MODEL]`.

The others are: its matrix products alone in onnxruntime (no runner can be faster), its int8 variant if it can have one,
a torch loop that keeps its state (for one image and for a batch), and the usual practice, which reads the whole image
again for every pixel. The runner and int8 are also measured with one process for each core. The candidates take turns;
each figure is the median over the rounds of one run.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from benchmarks import machine
from benchmarks.candidates import SEED, Candidate, draws_a_batch, measure_in_turns
from benchmarks.command import Benchmark, drawing_model
from benchmarks.processes import Processes
from smalti.randomness import uniforms
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model
from smalti.runtime.session import open_session
from worker.runner import Runner

BATCHES = (1, 8, 32, 64)
BATCH = 32  # the size that ratios are computed for
LARGEST = BATCHES[-1]
AGAIN = "torch, image read again for every pixel"


@click.command(cls=Benchmark)
@click.argument("model", default="sprites-pixel-rnn")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--threads", type=click.IntRange(1), default=1, help="Of onnxruntime, within one operator.")
@click.option("--rounds", type=click.IntRange(1), default=5)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(model: str, repository: Path, threads: int, rounds: int, file: Path | None) -> None:
    """Measure samples per second of MODEL at several batch sizes, and of a torch loop if torch is installed."""
    chosen = drawing_model(repository, model)
    with ExitStack() as opened:
        candidates = _drawings(opened, chosen, chosen.path(GRAPH), threads, "onnxruntime")
        candidates |= _limits(chosen, threads) | _int8(opened, chosen, threads) | _torch_loops(chosen)
        rates = measure_in_turns(candidates, rounds)
    found = ratios(rates)
    _print(chosen, threads, rates, found)
    machine.write(file, {"model": model, "threads": threads, "samples_per_second": rates, "ratios": found})


def ratios(rates: Mapping[str, float]) -> dict[str, float]:
    """How many times as fast one candidate is as another, for pairs that were both measured."""
    loop, together = "torch loop, one image", f"torch loop, {BATCH} in a batch"
    others = {
        "a torch loop with one image": _fastest(rates, loop),
        "a torch loop with one image and one thread": f"{loop}, threads 1",
        "reading the image again for every pixel": AGAIN,
    }
    drawn = f"onnxruntime, {BATCH} in a batch"
    on_all_cores = [name for name in rates if name.endswith("processes")]
    pairs = {
        **_beside("onnxruntime", "bare products", "its bare products"),
        **{
            f"{one}, to {other}": (one, name)
            for one in [drawn, f"int8, {LARGEST} in a batch", *on_all_cores]
            for other, name in others.items()
        },
        f"{drawn}, to a torch loop with as many": (drawn, _fastest(rates, together)),
        "onnxruntime, to a torch loop, both with one image": (
            "onnxruntime, 1 in a batch",
            _fastest(rates, loop),
        ),
        **_beside("int8", "onnxruntime", "fp32"),
    }
    return {
        name: rates[one] / rates[other]
        for name, (one, other) in pairs.items()
        if one in rates and other in rates
    }


def _beside(one: str, other: str, named: str) -> dict[str, tuple[str, str]]:
    """Pairs of the two candidates, one for every batch size."""
    return {
        f"{one}, {batch} in a batch, to {named}": (
            f"{one}, {batch} in a batch",
            f"{other}, {batch} in a batch",
        )
        for batch in BATCHES
    }


def _fastest(rates: Mapping[str, float], start: str) -> str:
    """The fastest candidate whose name begins with `start`: the best number of torch's threads varies."""
    return max((name for name in rates if name.startswith(start)), key=lambda name: rates[name], default="")


def _limits(model: Model, threads: int) -> dict[str, Candidate]:
    if find_spec("onnx") is None:
        return {}
    from benchmarks.matrix_products import bare_products

    return {
        f"bare products, {batch} in a batch": bare_products(model, batch, threads=threads)
        for batch in BATCHES
    }


def _int8(opened: ExitStack, model: Model, threads: int) -> dict[str, Candidate]:
    """The int8 variant, as `export.int8` writes it. Empty if this network cannot have one."""
    if find_spec("onnx") is None or find_spec("torch") is None:
        return {}
    import onnx

    from export.int8 import BOUNDS
    from export.quantise import quantise

    if model.manifest.quantisation or model.manifest.variant not in BOUNDS:
        return {}
    file = Path(opened.enter_context(TemporaryDirectory())) / "draw_row.onnx"
    onnx.save(quantise(onnx.load(model.path(GRAPH)), BOUNDS[model.manifest.variant]), file)
    return _drawings(opened, model, file, threads, "int8")


def _drawings(opened: ExitStack, model: Model, graph: Path, threads: int, name: str) -> dict[str, Candidate]:
    session, cores = open_session(graph, provider=Provider(threads=threads)), os.cpu_count() or 1
    alone = {
        f"{name}, {batch} in a batch": draws_a_batch(
            Runner(session, model.manifest, slots=batch), model, batch
        )
        for batch in BATCHES
    }
    if cores == 1:
        return alone
    together = opened.enter_context(Processes(cores, graph, model, LARGEST))
    return alone | {f"{name}, {LARGEST} in a batch in each of {cores} processes": together}


def _torch_loops(model: Model) -> dict[str, Candidate]:
    """Torch with one thread and with its own choice of threads. Empty if torch is not installed."""
    if find_spec("torch") is None:
        return {}
    import torch

    from benchmarks.torch_loop import torch_loop

    loop = torch_loop(model)
    pixels = loop.height * loop.width
    numbers = np.stack([uniforms(SEED, index, 0, pixels) for index in range(BATCH)])
    image = loop.draw(numbers[:1])

    def drawing(threads: int, batch: int) -> Candidate:
        def draw() -> float:
            torch.set_num_threads(threads)
            loop.draw(numbers[:batch])
            return batch

        return draw

    def again() -> float:
        torch.set_num_threads(max(choices))
        loop.read(image)
        return 1 / pixels

    choices = sorted({1, torch.get_num_threads()})
    sizes = {"one image": 1, f"{BATCH} in a batch": BATCH}
    loops = {
        f"torch loop, {name}, threads {count}": drawing(count, size)
        for name, size in sizes.items()
        for count in choices
    }
    return loops | {AGAIN: again}


def _print(model: Model, threads: int, rates: Mapping[str, float], found: Mapping[str, float]) -> None:
    manifest = model.manifest
    pixels = manifest.height * manifest.width
    click.echo(
        f"{manifest.name} version {manifest.version}, {manifest.height}×{manifest.width}, {threads} threads"
    )
    click.echo(machine.headline())
    for name, rate in rates.items():
        click.echo(f"{name:<44} {rate:10.3f} samples/s {rate * pixels:10.0f} pixels/s")
    for name, ratio in found.items():
        click.echo(f"{ratio:10.2f} × {name}")


if __name__ == "__main__":
    main()
