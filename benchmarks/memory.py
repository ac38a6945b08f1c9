"""Memory of server and worker after 1,000 and after 10,000 samples: `python -m benchmarks.memory [MODEL]`.

Each job is deleted when it has ended, so kept results do not count.
"""

from pathlib import Path

import click

from benchmarks import machine
from benchmarks.command import Benchmark, drawing_model
from benchmarks.running_system import RunningSystem, resident_megabytes, run_system


@click.command(cls=Benchmark)
@click.argument("model", default="digits-pixel-rnn-lecture")
@click.option("--repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("--count", type=click.IntRange(1), default=1000, help="Samples of a job.")
@click.option("--jobs", type=click.IntRange(2), default=10)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(model: str, repository: Path, count: int, jobs: int, file: Path | None) -> None:
    """Draw jobs of MODEL one after another; read the memory of server and worker after each."""
    drawing_model(repository, model)
    click.echo(f"{model}: {jobs} jobs of {count} samples\n{machine.headline()}")
    with run_system(repository, model) as running:
        found: dict[str, list[float]] = {name: [] for name in running.system.pids}
        for number in range(jobs):
            _draw_and_forget(running, model, count, number)
            for name, pid in running.system.pids.items():
                found[name].append(resident_megabytes(pid))
    growth = {name: sizes[-1] / sizes[0] - 1 for name, sizes in found.items()}
    for name, sizes in found.items():
        click.echo(
            f"{name:<8} {sizes[0]:.1f} MiB after {count}, {sizes[-1]:.1f} after {jobs * count}: {growth[name]:+.1%}"
        )
    machine.write(file, {"model": model, "count": count, "resident_megabytes": found, "growth": growth})


def _draw_and_forget(running: RunningSystem, model: str, count: int, seed: int) -> None:
    running.draw(model, count, seed=seed)
    for job in running.client.jobs():
        running.client.delete(job.id)


if __name__ == "__main__":
    main()
