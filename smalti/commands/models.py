"""Commands for models: which there are."""

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
    for heading in ("MODEL", "VERSION", "FAMILY", "SIZE", "COLOURS", "CAN"):
        table.add_column(heading)
    for model in served:
        size = f"{model.width}×{model.height}"
        colours, graphs = str(len(model.palette)), " ".join(model.graphs)
        table.add_row(model.name, str(model.version), model.family, size, colours, graphs)
    return table
