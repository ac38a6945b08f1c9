"""`python -m benchmarks`: runs every benchmark, one after another, and leaves their figures as JSON."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import click

# What is run, under the name of its figures; together within ten minutes on two quiet cores.
COMMANDS: dict[str, Sequence[str]] = {
    "engine": ("benchmarks.engine",),
    "engine-lecture": ("benchmarks.engine", "sprites-pixel-rnn-lecture"),
    "profile": ("benchmarks.profile",),
    "profile-lecture": ("benchmarks.profile", "sprites-pixel-rnn-lecture"),
    "constant_cost": ("benchmarks.constant_cost", "--images", "3"),
    "queue": ("benchmarks.queue",),
    "server": ("benchmarks.server",),
    "worker": ("benchmarks.worker",),
    "worker-two": ("benchmarks.worker", "--workers", "2"),
    "worker-lecture": ("benchmarks.worker", "sprites-pixel-rnn-lecture", "--jobs", "1"),
    "worker-wide": ("benchmarks.worker", "sprites-pixel-rnn-lecture", "--jobs", "1", "--slots", "128"),
    "latency": ("benchmarks.latency",),
    "scale": ("benchmarks.scale",),
    "memory": ("benchmarks.memory",),
    "training": ("benchmarks.training",),
    "duplicates": ("benchmarks.duplicates",),
}
SMALL: dict[str, Sequence[str]] = {  # for finding out whether they run: their figures are worth nothing
    "engine": ("benchmarks.engine", "digits-pixel-rnn", "--rounds", "1"),
    "engine-lecture": ("benchmarks.engine", "digits-pixel-rnn-lecture", "--rounds", "1"),
    "profile": ("benchmarks.profile", "digits-pixel-rnn"),
    "profile-lecture": ("benchmarks.profile", "digits-pixel-rnn-lecture"),
    "queue": ("benchmarks.queue", "--repetitions", "2"),
    "server": ("benchmarks.server", "--seconds", "0.2"),
    "worker": ("benchmarks.worker", "digits-pixel-rnn", "--count", "20", "--jobs", "1"),
    "latency": ("benchmarks.latency", "digits-pixel-rnn", "--one-shot", "digits-vae", "--times", "2"),
    "scale": (
        *("benchmarks.scale", "digits-pixel-rnn", "--count", "20"),
        *("--slots", "4", "--workers", "2", "--waiting", "3"),
    ),
    "memory": ("benchmarks.memory", "--count", "20", "--jobs", "2"),
    "training": ("benchmarks.training", "--steps", "2"),
    "duplicates": ("benchmarks.duplicates", "--count", "400"),
}


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("out/benchmarks"),
    show_default=True,
    help="Folder for the figures.",
)
@click.option("--only", multiple=True, type=click.Choice(sorted(COMMANDS)), help="One of them, or several.")
@click.option("--small", is_flag=True, help="As little as shows that they run.")
def main(output: Path, only: tuple[str, ...], small: bool) -> None:
    """Run all benchmarks; the exit code tells whether each has run to its end."""
    output.mkdir(parents=True, exist_ok=True)
    commands = SMALL if small else COMMANDS
    started = perf_counter()
    failed = [
        name for name in commands if name in (only or commands) and not _run(name, commands[name], output)
    ]
    click.echo(f"\n{perf_counter() - started:.0f} s; figures are in {output}")
    if failed:
        raise click.ClickException(f"These did not run to their end: {', '.join(failed)}.")


def _run(name: str, command: Sequence[str], output: Path) -> bool:
    words = ["-m", *command, "--json", str(output / f"{name}.json")]
    click.secho(f"\npython {' '.join(words)}", bold=True)
    started = perf_counter()
    code = subprocess.run([sys.executable, *words], check=False).returncode
    click.echo(f"({perf_counter() - started:.0f} s)")
    return code == 0


if __name__ == "__main__":
    main()
