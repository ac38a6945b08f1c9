"""Commands for models: which there are."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import click
from rich.console import Console
from rich.table import Table

from smalti.client import Client
from smalti.commands import options
from smalti.commands.output import print_json, print_table
from smalti.values import Model


@click.command()
@click.argument("name", required=False)
@options.version
@options.as_json
@options.connected
def models(client: Client, name: str | None, version: int, as_json: bool) -> None:
    """List models, or print one's manifest."""
    if name is not None:
        Console().print_json(data=dict(client.model(name, version=version).manifest))
    elif as_json:
        print_json(client.models())
    else:
        print_table(_table(client.models()))


def _table(served: list[Model]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("MODEL", "VERSION", "FAMILY", "VARIANT", "SIZE", "COLOURS", "CAN"):
        table.add_column(heading)
    for (name, *rest), versions in groupby(served, key=_kind):
        table.add_row(name, _ranges([model.version for model in versions]), *rest)
    return table


def _kind(model: Model) -> tuple[str, ...]:
    """What is said of a version beside its number: neighbours of which all is the same share a line."""
    size, colours = f"{model.width}×{model.height}", str(len(model.palette))
    return model.name, model.family, model.variant, size, colours, " ".join(model.graphs)


def _ranges(versions: Sequence[int]) -> str:
    """'1–3, 5' for 1, 2, 3 and 5, which ascend."""
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in _runs(versions))


def _runs(versions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of consecutive numbers."""
    for _, run in groupby(enumerate(versions), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        yield numbers[0], numbers[-1]
