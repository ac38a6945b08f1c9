"""`python -m export CHECKPOINT`: writes a trained model into the model repository as ONNX graphs."""

import sys
import time
from pathlib import Path

import click

from export.frame import export
from smalti import repository
from smalti.errors import SmaltiError
from training import checkpoint as checkpoints


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--repository",
    "root",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
)
@click.option("--version", type=click.IntRange(1), help="By default the next free one.")
def main(checkpoint: Path, root: Path, version: int | None) -> None:
    """Export CHECKPOINT (a file, or the folder of a training), check it against torch, and say what was written."""
    started = time.monotonic()
    try:
        file = checkpoint / checkpoints.FILE if checkpoint.is_dir() else checkpoint
        folder = export(checkpoints.load(file), root, version=version)
    except SmaltiError as error:
        raise click.ClickException(str(error)) from error
    _describe(folder, time.monotonic() - started)


def _describe(folder: Path, seconds: float) -> None:
    manifest = repository.read(folder).manifest
    size = sum(file.stat().st_size for file in folder.iterdir())
    equal = "pixels equal" if manifest.parity.pixels_equal else "pixels not compared"
    click.echo(
        f"{folder}: {', '.join(sorted(manifest.graphs))}; {size / 1e6:.1f} MB, exported in {seconds:.0f} s; "
        f"parity {manifest.parity.max_difference:.1e} over {manifest.parity.images} images, {equal}"
    )


if __name__ == "__main__":
    sys.exit(main())
