"""How fast a worker's runner draws, beside a plain torch loop: `python -m benchmarks.engine [MODEL] [--json FILE]`.

Machines are noisy, so the candidates take turns, and each figure is a median over the rounds of one run.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter

import click
import numpy as np

from benchmarks import machine
from smalti.randomness import uniforms
from smalti.repository import Model, ModelRepository
from smalti.session import open_session
from worker.runner import GRAPH, Runner
from worker.slot import Lane, Row

SEED = 7
BATCHES = (1, 8, 32, 64)


@click.command()
@click.argument("model", default="sprites-pixel-rnn")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--threads", type=click.IntRange(1), default=1, help="Of onnxruntime, within one operator.")
@click.option("--rounds", type=click.IntRange(1), default=5)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(model: str, repository: Path, threads: int, rounds: int, file: Path | None) -> None:
    """Measure samples per second of MODEL at several batch sizes, and of a torch loop where torch is installed."""
    chosen = ModelRepository(repository).load(model)
    candidates = _runners(chosen, threads) | _torch_loops(chosen)
    rates = _measure(candidates, rounds)
    _print(chosen, threads, rates)
    machine.write(file, {"model": model, "threads": threads, "samples_per_second": rates})


def _runners(model: Model, threads: int) -> dict[str, Callable[[], int]]:
    session = open_session(model.path(GRAPH), threads=threads)
    return {
        f"onnxruntime, {batch} in a batch": _drawing(
            Runner(session, model.manifest, slots=batch), model, batch
        )
        for batch in BATCHES
    }


def _drawing(runner: Runner, model: Model, batch: int) -> Callable[[], int]:
    height, width = model.manifest.height, model.manifest.width
    uniform = [uniforms(SEED, index, 0, height * width).reshape(height, width) for index in range(batch)]
    free = np.full(width, -1, dtype=np.int64)
    runner.warm()

    def draw() -> int:
        for row in range(height):
            lanes = [Lane(slot, row, numbers[row], free, 1.0) for slot, numbers in enumerate(uniform)]
            drawn = runner.draw_row(lanes)
            assert all(isinstance(one, Row) for one in drawn)
        return batch

    return draw


def _torch_loops(model: Model) -> dict[str, Callable[[], int]]:
    """With one thread and with torch's own choice, as neither is always faster; none where there is no torch."""
    if find_spec("torch") is None:
        return {}
    import torch

    from benchmarks.torch_loop import torch_loop

    loop = torch_loop(model)
    numbers = uniforms(SEED, 0, 0, loop.height * loop.width)
    choice = torch.get_num_threads()

    def drawing(threads: int) -> Callable[[], int]:
        def draw() -> int:
            torch.set_num_threads(threads)
            loop.draw(numbers)
            return 1

        return draw

    return {f"torch loop, one image, threads {count}": drawing(count) for count in sorted({1, choice})}


def _measure(candidates: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    rates: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(rounds + 1):
        for name, draw in candidates.items():
            started = perf_counter()
            samples = draw()
            if round_number:  # the first one warms caches
                rates[name].append(samples / (perf_counter() - started))
    return {name: median(found) for name, found in rates.items()}


def _print(model: Model, threads: int, rates: dict[str, float]) -> None:
    manifest = model.manifest
    pixels = manifest.height * manifest.width
    loops = [rate for name, rate in rates.items() if name.startswith("torch")]
    click.echo(
        f"{manifest.name} version {manifest.version}, {manifest.height}×{manifest.width}, {threads} threads"
    )
    click.echo(machine.headline())
    for name, rate in rates.items():
        ratio = f"  {rate / max(loops):6.1f} × the faster torch loop" if loops else ""
        click.echo(f"{name:<36} {rate:9.2f} samples/s {rate * pixels:10.0f} pixels/s{ratio}")


if __name__ == "__main__":
    main()
