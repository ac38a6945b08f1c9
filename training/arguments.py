"""What several commands of training and export ask for in the same words."""

import os
from pathlib import Path
from typing import Any

import click

from training.recipe import colour


class Place(click.Path):
    """A file or folder; an empty text, as an unset variable of a shell gives it, is none."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Refuse an empty text, which would mean the folder one is in."""
        if not os.fspath(value):
            self.fail("it is empty: name a file or folder ('.' is the one you are in).", param, ctx)
        return super().convert(value, param, ctx)


class Colour(click.ParamType[str]):
    """A colour, as recipes take it."""

    name = "colour"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As #rrggbb in small letters."""
        try:
            return colour(value)
        except ValueError as error:
            self.fail(f"it {error}.", param, ctx)


data = click.option("--data", "path", type=Place(), help="What it was trained on; without it, digits.")
version = click.option("--version", type=click.IntRange(1), help="By default the latest.")
repository = click.option(
    "--repository",
    "root",
    type=Place(),
    default=Path("model_repository"),
    envvar="SMALTI_MODEL_REPOSITORY",
    show_default=True,
)
