"""Checks and measures smalti on an NVIDIA GPU: `python -m benchmarks.gpu`.

First correctness: the CPU's numbers, and the seed promise. Then speed: compared with torch and the same network, kernel
by kernel and as CUDA graphs. Then waiting times: the real server and worker, on the GPU and on the CPU. It needs the
extras serve-gpu and train. `make bench` does not run it. The exit code is 0 if every check passed; without a GPU the
command ends with one sentence.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks import machine
from benchmarks.candidates import measure_in_turns
from benchmarks.command import Benchmark, drawing_model
from benchmarks.gpu import checks
from benchmarks.gpu.waiting import Asked, lines, waiting
from smalti.errors import ProviderMissing
from smalti.runtime import gpu
from smalti.runtime.draw_row import GRAPH
from smalti.runtime.provider import Provider
from smalti.runtime.repository import Model
from smalti.runtime.session import open_graph
from worker.device import BindingSession
from worker.device_runner import DeviceRunner
from worker.runner import Runner

MODELS = ("sprites-pixel-rnn", "sprites-pixel-rnn-lecture")
SIZES = (32, 256, 1024)
IMAGES = 32  # compared with those of the CPU


@click.command(cls=Benchmark)
@click.option("--model", "names", multiple=True, default=MODELS, show_default=True)
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--slots", "sizes", type=click.IntRange(2), multiple=True, default=SIZES, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5)
@click.option(
    "--times",
    type=click.IntRange(2),
    default=30,
    help="Number of images; there are ten times as many one-shot requests.",
)
@click.option(
    "--memory", type=click.IntRange(1), default=16384, help="Megabytes of the GPU for each session."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    names: Sequence[str],
    repository: Path,
    sizes: Sequence[int],
    rounds: int,
    times: int,
    memory: int,
    file: Path | None,
) -> None:
    """Check and measure on the GPU."""
    models = [drawing_model(repository, name) for name in names]
    _require_gpu(models[0])
    click.echo(f"{gpu.describe()}\n{machine.headline()}")
    checked = {model.manifest.name: _checked(model, memory) for model in models}
    speeds = {model.manifest.name: _speed(model, sizes, rounds, memory) for model in models}
    waits = waiting(repository, Asked(), providers=("cuda", "cpu"), slots=sizes[0], times=times)
    click.echo("\n".join(lines(waits)))
    machine.write(file, {"gpu": gpu.describe(), "checks": checked, "speed": speeds, "milliseconds": waits})
    _judge(checked)


def _require_gpu(model: Model) -> None:
    try:
        _open(model, 1024, 1, False)
    except ProviderMissing as error:
        raise click.ClickException(f"There is nothing to measure: {error}") from error


def _open(model: Model, memory: int, batch: int, captured: bool) -> BindingSession:
    session: BindingSession = open_graph(
        model,
        GRAPH,
        provider=Provider(name="cuda", gpu_memory_megabytes=memory),
        batch=batch,
        cuda_graph=captured,
    )
    return session


def _runner(model: Model, slots: int, memory: int) -> DeviceRunner:
    runner = DeviceRunner(partial(_open, model, memory), model.manifest, buckets=[slots])
    runner.warm()
    return runner


def _checked(model: Model, memory: int) -> dict[str, Any]:
    manifest = model.manifest
    on_cpu = Runner(open_graph(model, GRAPH), manifest, slots=IMAGES)
    runners = {size: _runner(model, size, memory) for size in (1, 8, IMAGES)}
    found: dict[str, Any] = {
        "captured": runners[IMAGES].is_captured,
        "parity": checks.parity(model, runners[IMAGES], on_cpu, images=IMAGES),
        "promised": checks.promises(runners[IMAGES], manifest, slots=IMAGES),
        "not promised": checks.across_sizes(runners, manifest),
    }
    click.echo(f"\n{manifest.name}, {IMAGES} slots; captured: {_said(found['captured'])}")
    for name, value in found["parity"].items():
        click.echo(f"{value:12.6g}  {name}")
    for name, is_so in {**found["promised"], **found["not promised"]}.items():
        click.echo(f"{_said(is_so):>12}  the same bits {name}")
    return found


def _speed(model: Model, sizes: Sequence[int], rounds: int, memory: int) -> dict[str, Any]:
    from benchmarks.gpu import speed  # imported late: it needs torch

    pixels = model.manifest.height * model.manifest.width
    found = {}
    for slots in sizes:
        rates = measure_in_turns(speed.candidates(model, _runner(model, slots, memory), slots), rounds)
        ratios = speed.ratios(rates)
        found[str(slots)] = {
            "pixels_per_second": {name: rate * pixels for name, rate in rates.items()},
            "ratios": ratios,
        }
        click.echo(f"\n{model.manifest.name}, {slots} slots")
        for name, rate in rates.items():
            click.echo(f"{name:<24} {rate * pixels:14.0f} pixels/s {_ratio(name, ratios, speed.GOALS)}")
    return found


def _ratio(name: str, ratios: Mapping[str, float], goals: Mapping[str, float]) -> str:
    return f"  smalti is {ratios[name]:.1f} times as fast (goal: {goals[name]:g})" if name in ratios else ""


def _judge(checked: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise if a check failed; speed is not judged."""
    faults = [
        f"{name}: {fault}"
        for name, found in checked.items()
        for fault in checks.faults(found["parity"], found["promised"])
    ]
    if faults:
        raise click.ClickException("; ".join(faults))


def _said(is_so: bool) -> str:
    return "yes" if is_so else "no"


if __name__ == "__main__":
    main()
