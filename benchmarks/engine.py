"""How fast a worker's runner draws, and what it is to be compared with: `python -m benchmarks.engine [MODEL]`.

Beside it: its bare matrix products in onnxruntime (the limit), its int8 variant where there is one, both with a process
for each core, a torch loop that keeps its state, for one image and for a batch, and the practice that reads the whole
image again for every pixel. Machines are noisy, so the candidates take turns, and each figure is a median over the
rounds of one run.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import click
import numpy as np

from benchmarks import machine
from benchmarks.processes import Processes
from smalti.randomness import uniforms
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model, ModelRepository
from smalti.runtime.session import open_session
from worker.engine import DrawsRows
from worker.runner import Runner
from worker.sample import Lane, Row

SEED = 7
BATCHES = (1, 8, 32, 64)
BATCH = 32  # that ratios are taken at
LARGEST = BATCHES[-1]
AGAIN = "torch, image read again for every pixel"
Candidate = Callable[[], float]  # does some work, and says how many samples that was


@click.command()
@click.argument("model", default="sprites-pixel-rnn")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--threads", type=click.IntRange(1), default=1, help="Of onnxruntime, within one operator.")
@click.option("--rounds", type=click.IntRange(1), default=5)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(model: str, repository: Path, threads: int, rounds: int, file: Path | None) -> None:
    """Measure samples per second of MODEL at several batch sizes, and of a torch loop where torch is installed."""
    chosen = ModelRepository(repository).load(model)
    with ExitStack() as opened:
        candidates = _drawings(opened, chosen, chosen.path(GRAPH), threads, "onnxruntime")
        candidates |= _limits(chosen, threads) | _int8(opened, chosen, threads) | _torch_loops(chosen)
        rates = measure(candidates, rounds)
    found = ratios(rates)
    _print(chosen, threads, rates, found)
    machine.write(file, {"model": model, "threads": threads, "samples_per_second": rates, "ratios": found})


def ratios(rates: Mapping[str, float]) -> dict[str, float]:
    """How many times as fast the one is as the other, of those that were measured."""
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
    """Two that are compared at every size of batch."""
    return {
        f"{one}, {batch} in a batch, to {named}": (
            f"{one}, {batch} in a batch",
            f"{other}, {batch} in a batch",
        )
        for batch in BATCHES
    }


def _fastest(rates: Mapping[str, float], start: str) -> str:
    """Of those whose names begin so; neither number of torch's threads is always the faster."""
    return max((name for name in rates if name.startswith(start)), key=lambda name: rates[name], default="")


def _limits(model: Model, threads: int) -> dict[str, Candidate]:
    if find_spec("onnx") is None:
        return {}
    from benchmarks.products import bare_products

    return {
        f"bare products, {batch} in a batch": bare_products(model, batch, threads=threads)
        for batch in BATCHES
    }


def _int8(opened: ExitStack, model: Model, threads: int) -> dict[str, Candidate]:
    """The int8 variant, as `export.int8` writes it; none where a variant of networks has none."""
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
        f"{name}, {batch} in a batch": drawing(Runner(session, model.manifest, slots=batch), model, batch)
        for batch in BATCHES
    }
    if cores == 1:
        return alone
    together = opened.enter_context(Processes(cores, graph, model, LARGEST, drawing))
    return alone | {f"{name}, {LARGEST} in a batch in each of {cores} processes": together}


def drawing(runner: DrawsRows, model: Model, batch: int) -> Candidate:
    """Draws a batch of images with a worker's runner, row by row."""
    height, width = model.manifest.height, model.manifest.width
    uniform = [uniforms(SEED, index, 0, height * width).reshape(height, width) for index in range(batch)]
    free = np.full(width, -1, dtype=np.int64)
    rows = [
        [Lane(slot, row, numbers[row], free, 1.0) for slot, numbers in enumerate(uniform)]
        for row in range(height)
    ]
    runner.warm()

    def draw() -> float:
        for lanes in rows:
            drawn = runner.draw_row(lanes)
            assert all(isinstance(one, Row) for one in drawn)
        return batch

    return draw


def _torch_loops(model: Model) -> dict[str, Candidate]:
    """With one thread and with torch's own choice, as neither is always faster; none where there is no torch."""
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


def measure(candidates: Mapping[str, Candidate], rounds: int) -> dict[str, float]:
    """Samples per second of each: the median over the rounds, in which they take turns."""
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(rounds + 1):
        for name, draw in candidates.items():
            started = perf_counter()
            samples = draw()
            if round_number:  # the first one warms caches
                rates[name].append(samples / (perf_counter() - started))
    return {name: median(found) for name, found in rates.items()}


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
