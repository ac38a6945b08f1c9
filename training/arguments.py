"""Options that several commands of training, evaluation and export share."""

import os
from pathlib import Path
from typing import Any

import click

from training.recipe import colour


class Place(click.Path):
    """A file or folder; an empty text, such as an unset shell variable gives, is refused."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Refuse an empty text, which would mean the current folder."""
        if not os.fspath(value):
            self.fail("it is empty: name a file or folder ('.' is the one you are in).", param, ctx)
        return super().convert(value, param, ctx)


class Colour(click.ParamType[str]):
    """A colour, written as in recipes."""

    name = "colour"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The colour as #rrggbb in lower case."""
        try:
            return colour(value)
        except ValueError as error:
            self.fail(f"it {error}.", param, ctx)


data = click.option("--data", "path", type=Place(), help="What it was trained on; the digits by default.")
version = click.option("--version", type=click.IntRange(1), help="The latest by default.")
repository = click.option(
    "--repository",
    "root",
    type=Place(),
    default=Path("model_repository"),
    envvar="SMALTI_MODEL_REPOSITORY",
    show_default=True,
)
