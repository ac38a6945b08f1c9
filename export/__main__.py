"""`python -m export CHECKPOINT`: writes a trained model into the model repository as ONNX graphs."""

import sys
import time
from pathlib import Path

import click

from export.errors import ExportRefused
from export.generations import export_generations
from export.writing import export, what_next
from smalti.errors import SmaltiError
from smalti.runtime import repository
from training import arguments
from training import checkpoint as checkpoints
from training.checkpoint import Checkpoint
from training.progress import Say, Stages


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@arguments.repository
@click.option("--version", type=click.IntRange(1), help="By default the next free one.")
def main(checkpoint: Path, root: Path, version: int | None) -> None:
    """Export CHECKPOINT (a file, or a training's folder), compare it with torch, and say what was written.

    A training that kept generations is exported as versions 1, 2, 3 … of its model.
    """
    started = time.monotonic()
    try:
        file = checkpoint / checkpoints.FILE if checkpoint.is_dir() else checkpoint
        with Stages() as stages:
            stages.say(f"reading {file}")
            folders = _export(checkpoints.load(file), root, version, stages.say)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error
    for folder in folders:
        click.echo(_described(folder))
    click.echo(f"exported in {time.monotonic() - started:.0f} s")
    click.echo(what_next(folders[-1]))


def _export(checkpoint: Checkpoint, root: Path, version: int | None, say: Say) -> list[Path]:
    if not checkpoint.generations:
        return [export(checkpoint, root, version=version, say=say)]
    if version is not None:
        raise ExportRefused(
            f"This training has {len(checkpoint.generations) + 1} generations, which become the versions: "
            "leave out --version."
        )
    return export_generations(checkpoint, root, say=say)


def _described(folder: Path) -> str:
    manifest = repository.read(folder).manifest
    size = sum(file.stat().st_size for file in folder.iterdir())
    parity = manifest.parity
    assert parity is not None, "the exporter has compared it with torch"
    equal = "pixels equal" if parity.pixels_equal else "pixels not compared"
    return (
        f"{folder}: {', '.join(sorted(manifest.graphs))}; {size / 1e6:.1f} MB; "
        f"parity {parity.max_difference:.1e} over {parity.images} images, {equal}"
    )


if __name__ == "__main__":
    sys.exit(main())
