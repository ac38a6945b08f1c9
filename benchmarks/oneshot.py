"""What a one-shot request costs without network and messages: `python -m benchmarks.oneshot [MODEL]`.

It compares quick runs on the event loop with runs in threads. Processor time counts: it suffers least from neighbours.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import click
import numpy as np

from benchmarks import machine
from benchmarks.command import Benchmark, latent_model
from server.oneshot.batcher import Batcher
from server.oneshot.runner import Runner
from server.oneshot.waiting import Arrays
from server.oneshot.warming import open_runners
from smalti.runtime.batching import Batching
from smalti.runtime.provider import CPU
from smalti.runtime.repository import Model

_THREADS = 2
_WAYS = ("on the loop", "in threads")
Ask = Callable[[], Awaitable[Arrays]]


class _InThreads:
    """A runner none of whose runs counts as quick."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def __call__(self, inputs: Arrays) -> Arrays:
        return await self._runner(inputs)

    def run_here(self, inputs: Arrays) -> Arrays:
        return self._runner.run_here(inputs)

    def is_quick(self, entries: int) -> bool:
        return False


@click.command(cls=Benchmark)
@click.argument("model", default="digits-vae")
@click.option(
    "--repository", type=click.Path(path_type=Path), default=Path("model_repository"), show_default=True
)
@click.option("--seconds", default=0.5, show_default=True, help="For each part of a round.")
@click.option("--rounds", default=5, show_default=True, help="The ways take turns; the median counts.")
@click.option("--in-flight", "levels", multiple=True, type=int, default=(1, 16, 64), show_default=True)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    model: str, repository: Path, seconds: float, rounds: int, levels: tuple[int, ...], file: Path | None
) -> None:
    """Ask the graph of MODEL that makes images from latents, with one latent in each request."""
    click.echo(machine.headline())
    with ThreadPoolExecutor(_THREADS) as pool:
        found = asyncio.run(_measure(latent_model(repository, model), pool, seconds, rounds, levels))
    machine.write(file, {"model": model, "in_flight": found})


async def _measure(
    model: Model, pool: Executor, seconds: float, rounds: int, levels: tuple[int, ...]
) -> dict[str, Any]:
    graph = str(model.manifest.latent_graph)
    entries = dict.fromkeys(model.manifest.graphs, Batching().max_batch_size)
    runner = open_runners(model, pool, provider=CPU, warm_entries=entries)[graph]
    latent = {"latent": np.zeros((1, model.manifest.latent_size), np.float32)}
    batchers = [Batcher(each, batching=Batching()) for each in (runner, _InThreads(runner))]
    asks: dict[str, Ask] = {
        way: partial(batcher.ask, latent) for way, batcher in zip(_WAYS, batchers, strict=True)
    }
    calls = {way: await _python_calls(ask) for way, ask in asks.items()}
    click.echo(f"Python calls for one request: {calls}")
    found = {str(level): await _compare(asks, level, seconds, rounds) for level in levels}
    for batcher in batchers:
        await batcher.close()
    return {"python_calls": calls, **found}


async def _compare(asks: dict[str, Ask], level: int, seconds: float, rounds: int) -> dict[str, float]:
    """Microseconds of processor time for a request of each way."""
    costs: dict[str, list[float]] = {way: [] for way in asks}
    for _ in range(rounds):
        for way, ask in asks.items():
            costs[way].append(await _cost(ask, level, seconds))
    found = {way: median(each) for way, each in costs.items()}
    on_the_loop, in_threads = found.values()
    click.echo(
        f"{level:3} in flight: {on_the_loop:5.0f} µs of processor time on the loop, {in_threads:5.0f} µs in threads, "
        f"{in_threads / on_the_loop:.2f} times as much"
    )
    return found


async def _cost(ask: Ask, level: int, seconds: float) -> float:
    answered, start, used = 0, perf_counter(), process_time()

    async def repeat() -> None:
        nonlocal answered
        while perf_counter() < start + seconds:
            await ask()
            answered += 1
            await asyncio.sleep(0)  # as between two RPCs: the loop turns

    await asyncio.gather(*(repeat() for _ in range(level)))
    return 1e6 * (process_time() - used) / answered


async def _python_calls(ask: Ask) -> int:
    """How many Python functions one request calls on the event loop, in the median of several."""
    found = []
    for _ in range(15):
        calls = 0

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            await ask()
        finally:
            sys.setprofile(None)
        await asyncio.sleep(0)
        found.append(calls)
    return int(median(found))


if __name__ == "__main__":
    main()
