"""What several commands of training and export ask for in the same words."""

from pathlib import Path

import click

data = click.option(
    "--data", "path", type=click.Path(path_type=Path), help="What it was trained on; without it, digits."
)
version = click.option("--version", type=click.IntRange(1), help="By default the latest.")
repository = click.option(
    "--repository",
    "root",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    envvar="SMALTI_MODEL_REPOSITORY",
    show_default=True,
)
