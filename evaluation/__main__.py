"""`python -m evaluation MODEL`: measures an exported model on images held back."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import torch

from evaluation import abilities, consoles, report, saving
from evaluation.abilities import Cost
from evaluation.graphs import Graphs
from evaluation.images import load
from evaluation.measure import LEAST_SAMPLES, Effort, Findings, measure
from smalti.errors import SmaltiError
from smalti.runtime.manifest import Manifest
from smalti.runtime.repository import ModelRepository
from training import arguments
from training.progress import Stages


@click.command()
@click.argument("model")
@arguments.data
@arguments.version
@arguments.repository
@click.option(
    "--samples", type=click.IntRange(LEAST_SAMPLES), default=500, show_default=True, help="How many to draw."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="For the samples and for noise."
)
@click.option(
    "--iwae",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    help="Importance samples per image, for a VAE.",
)
@click.option(
    "--iwae-images",
    type=click.IntRange(2),
    help="Test images to draw them for; by default what takes a minute.",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; by default all cores.")
@click.option("--json", "json_file", type=arguments.Place(), help="Write all figures here.")
@click.option("--plots", type=arguments.Place(), help="Folder to write pictures into, as PNG.")
@click.option("--save", is_flag=True, help="Put the figures into the version's manifest.")
def main(
    model: str,
    path: Path | None,
    version: int | None,
    root: Path,
    samples: int,
    seed: int,
    iwae: int,
    iwae_images: int | None,
    threads: int | None,
    json_file: Path | None,
    plots: Path | None,
    save: bool,
) -> None:
    """Measure MODEL, as it was exported, on the test images of the data it was trained on."""
    effort = Effort(samples=samples, seed=seed, importance_samples=iwae, importance_images=iwae_images)
    try:
        graphs = Graphs(ModelRepository(root).load(model, version), threads=_use(threads))
        with Stages() as stages:
            stages.say("reading the images")
            findings = measure(graphs, load(graphs.manifest, path), effort, say=stages.say)
        report.show(findings, consoles.for_tables())
        _hand_over(
            findings,
            graphs,
            effort,
            command=_command(graphs.manifest, path, effort),
            json_file=json_file,
            plots=plots,
            save=save,
        )
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error


def _hand_over(
    findings: Findings,
    graphs: Graphs,
    effort: Effort,
    *,
    command: str,
    json_file: Path | None,
    plots: Path | None,
    save: bool,
) -> None:
    """Write the files that were asked for, and name them."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    evaluation = saving.describe(findings, command=command, date=date, seed=effort.seed)
    if json_file:
        saving.save_json(findings, evaluation, json_file)
        _say(f"wrote {json_file}")
    if plots:
        from evaluation import plots as pictures  # matplotlib is slow to import

        _say(f"wrote {', '.join(str(file) for file in pictures.save(findings, plots))}")
    if save:
        saving.save_in_manifest(graphs.model, evaluation)
        _say(f"wrote the figures into the manifest of {graphs.name}")


def _command(manifest: Manifest, path: Path | None, effort: Effort) -> str:
    """The command that gives the same figures; the data's path is shortened to the file's name."""
    words = [f"python -m evaluation {manifest.name} --version {manifest.version}"]
    words += [f"--data {path.name}"] if path else []
    words += [f"--samples {effort.samples} --seed {effort.seed}"]
    if abilities.cost(manifest) is Cost.BOUND:
        words += [f"--iwae {effort.importance_samples}"]
        words += [f"--iwae-images {effort.importance_images}"] if effort.importance_images else []
    return " ".join(words)


def _use(threads: int | None) -> int:
    """Set the number of torch's threads, by default one per core; returns it."""
    chosen = threads or os.cpu_count() or 1
    torch.set_num_threads(chosen)
    return chosen


def _say(message: str) -> None:
    """Print to standard error: standard output is for the figures."""
    click.echo(message, err=True)


if __name__ == "__main__":
    sys.exit(main())
