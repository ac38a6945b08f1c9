"""`python -m benchmarks`: runs every benchmark, one after another, and writes their figures as JSON."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import click


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A module to run, with the arguments of a measurement and of a short trial."""

    module: str
    arguments: str = ""
    small: str  # figures of these runs mean nothing

    def command(self, *, small: bool) -> list[str]:
        """The words after `python`."""
        return ["-m", self.module, *(self.small if small else self.arguments).split()]


_SMALL_JOBS = "digits-pixel-rnn --count 20 --jobs 1"

# By the name of their figures; together within ten minutes on two quiet cores.
BENCHMARKS: dict[str, Benchmark] = {
    "engine": Benchmark(module="benchmarks.engine", small="digits-pixel-rnn --rounds 1"),
    "engine-lecture": Benchmark(
        module="benchmarks.engine",
        arguments="sprites-pixel-rnn-lecture",
        small="digits-pixel-rnn-lecture --rounds 1",
    ),
    "profile": Benchmark(module="benchmarks.profile", small="digits-pixel-rnn"),
    "profile-lecture": Benchmark(
        module="benchmarks.profile", arguments="sprites-pixel-rnn-lecture", small="digits-pixel-rnn-lecture"
    ),
    "constant_cost": Benchmark(
        module="benchmarks.constant_cost",
        arguments="--images 3",
        small="pixel-rnn-small --size 4 --batch 2 --images 3",
    ),
    "queue": Benchmark(module="benchmarks.queue", small="--repetitions 2"),
    "scripts": Benchmark(
        module="benchmarks.scripts",
        arguments="--rounds 1",
        small="--slots 4 --side 8 --samples 3000 --jobs 3 --clients 2 --workers 3 --rounds 1",
    ),
    "fairness": Benchmark(module="benchmarks.fairness", small="--samples 20 --clients 10"),
    "capacity": Benchmark(
        module="benchmarks.capacity",
        small="--slots 2 --jobs 3 --watchers 2 --most-workers 2 --seconds 0.3 --fsync no",
    ),
    "oneshot": Benchmark(module="benchmarks.oneshot", small="--seconds 0.02 --rounds 1"),
    "front": Benchmark(module="benchmarks.front", small="--seconds 0.2 --in-flight 1"),
    "server": Benchmark(module="benchmarks.server", small="--seconds 0.2"),
    "server_processes": Benchmark(
        module="benchmarks.server_processes", arguments="--seconds 3", small="--seconds 0.2"
    ),
    "flood": Benchmark(module="benchmarks.flood", arguments="--seconds 5", small="--seconds 0.2 --calls 4"),
    "metrics_cost": Benchmark(
        module="benchmarks.metrics_cost", arguments="--rounds 5", small="--rounds 1 --seconds 0.2"
    ),
    "admission": Benchmark(module="benchmarks.admission", small="--clients 2 --repetitions 1"),
    "watchers": Benchmark(
        module="benchmarks.watchers", small="digits-pixel-rnn --watchers 20 --jobs 2 --seconds 1"
    ),
    "worker": Benchmark(module="benchmarks.worker", small=_SMALL_JOBS),
    "worker-two": Benchmark(
        module="benchmarks.worker", arguments="--workers 2", small=f"{_SMALL_JOBS} --workers 2"
    ),
    "worker-lecture": Benchmark(
        module="benchmarks.worker",
        arguments="sprites-pixel-rnn-lecture --jobs 1",
        small="digits-pixel-rnn-lecture --count 20 --jobs 1",
    ),
    "worker-wide": Benchmark(
        module="benchmarks.worker",
        arguments="sprites-pixel-rnn-lecture --jobs 1 --slots 128",
        small="digits-pixel-rnn-lecture --count 20 --jobs 1 --slots 128",
    ),
    "latency": Benchmark(
        module="benchmarks.latency", small="digits-pixel-rnn --one-shot digits-vae --times 2"
    ),
    "scale": Benchmark(
        module="benchmarks.scale",
        small="digits-pixel-rnn --count 20 --slots 4 --workers 2 --waiting 3 --seconds 1",
    ),
    "memory": Benchmark(module="benchmarks.memory", small="--count 20 --jobs 2"),
    "training": Benchmark(module="benchmarks.training", small="--steps 2"),
    "duplicates": Benchmark(module="benchmarks.duplicates", small="--count 400"),
}


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("out/benchmarks"),
    show_default=True,
    help="Folder for the figures.",
)
@click.option(
    "--only", multiple=True, type=click.Choice(sorted(BENCHMARKS)), help="Run this one; may be repeated."
)
@click.option("--small", is_flag=True, help="Check quickly that they run; the figures mean nothing.")
def main(output: Path, only: tuple[str, ...], small: bool) -> None:
    """Run all benchmarks. The exit code is 0 if each of them ended well."""
    output.mkdir(parents=True, exist_ok=True)
    started = perf_counter()
    chosen = [name for name in BENCHMARKS if name in (only or BENCHMARKS)]
    failed = [
        name for name in chosen if not _run(BENCHMARKS[name].command(small=small), output / f"{name}.json")
    ]
    click.echo(f"\n{perf_counter() - started:.0f} s; figures are in {output}")
    if failed:
        raise click.ClickException(f"These benchmarks failed: {', '.join(failed)}.")


def _run(command: Sequence[str], figures: Path) -> bool:
    words = [*command, "--json", str(figures)]
    click.secho(f"\npython {' '.join(words)}", bold=True)
    started = perf_counter()
    code = subprocess.run([sys.executable, *words], check=False).returncode
    click.echo(f"({perf_counter() - started:.0f} s)")
    return code == 0


if __name__ == "__main__":
    main()
