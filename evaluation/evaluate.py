"""`python -m evaluation.evaluate MODEL`: measures an exported model on images held back."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import torch
from pydantic import ValidationError
from rich.console import Console

from evaluation import report, saving
from evaluation.graphs import Graphs
from evaluation.measure import LEAST_SAMPLES, Effort, Findings, measure
from smalti.errors import SmaltiError
from smalti.runtime.manifest import Manifest
from smalti.runtime.repository import ModelRepository
from training import arguments
from training.data import dataset as data
from training.data.dataset import ImageSet
from training.errors import EvaluationRefused
from training.progress import Stages
from training.recipe import DataRecipe

WIDTH = 140  # of the tables, where there is no terminal


@click.command()
@click.argument("model")
@arguments.data
@arguments.version
@arguments.repository
@click.option(
    "--samples", type=click.IntRange(LEAST_SAMPLES), default=500, show_default=True, help="To draw."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the samples and of noise."
)
@click.option(
    "--iwae",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    help="Importance samples an image of a VAE.",
)
@click.option(
    "--iwae-images", type=click.IntRange(2), help="Test images to draw them for; by default a minute's worth."
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
    """Measure MODEL, as it is exported, on the test images of the data it was trained on."""
    effort = Effort(samples=samples, seed=seed, importance_samples=iwae, importance_images=iwae_images)
    try:
        graphs = Graphs(ModelRepository(root).load(model, version), threads=_use(threads))
        with Stages() as stages:
            stages.say("reading the images")
            findings = measure(graphs, load(graphs.manifest, path), effort, say=stages.say)
        report.show(findings, _console())
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


def load(manifest: Manifest, path: Path | None) -> ImageSet:
    """The images that a model was trained on, in its own palette, divided as they were then."""
    try:
        recipe = DataRecipe.model_validate(manifest.recipe.get("data", {}))
    except ValidationError as error:
        raise EvaluationRefused(
            f"The recipe of {manifest.name} does not tell how its images were made."
        ) from error
    return data.load(path, recipe, palette=manifest.palette)


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
    """Write what was asked for, and say where."""
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
    """What to type for the same figures; of the data's path its last part, for the rest is this machine's."""
    words = [f"python -m evaluation.evaluate {manifest.name} --version {manifest.version}"]
    words += [f"--data {path.name}"] if path else []
    words += [f"--samples {effort.samples} --seed {effort.seed}"]
    if manifest.family == "vae":
        words += [f"--iwae {effort.importance_samples}"]
        words += [f"--iwae-images {effort.importance_images}"] if effort.importance_images else []
    return " ".join(words)


def _use(threads: int | None) -> int:
    """Let torch use so many threads, by default one a core; how many."""
    chosen = threads or os.cpu_count() or 1
    torch.set_num_threads(chosen)
    return chosen


def _console() -> Console:
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=WIDTH)


def _say(message: str) -> None:
    """On standard error: standard output is for the figures."""
    click.echo(message, err=True)


if __name__ == "__main__":
    sys.exit(main())
