"""The command `smalti admin weights`: how clients share the workers."""

import click

from smalti.cli import options
from smalti.cli.connecting import connected
from smalti.cli.output import print_json, print_table
from smalti.client import Client
from smalti.printable import printable


@click.command()
@click.argument("name", required=False)
@click.argument("weight", type=options.Number(0.01, 100), required=False)
@options.as_json
@connected
def weights(client: Client, name: str | None, weight: float | None, as_json: bool) -> None:
    """List the weights of clients, or give the client NAME a WEIGHT from 0.01 to 100.

    In a class, a client of weight 2 gets twice the pixels of a client of weight 1. Clients that are not listed have 1.
    """
    if name is not None and weight is None:
        raise click.UsageError("Give a WEIGHT after the client's NAME, or neither to list all.")
    if name is not None and weight is not None:
        client.set_weight(name, weight)
        if as_json:
            print_json({"client": name, "weight": weight})
        else:
            click.echo(f"{printable(name)} has weight {weight:g}.")
    elif as_json:
        print_json(client.weights())
    else:
        listed = client.weights().items()
        print_table([("CLIENT", "WEIGHT"), *((printable(each), f"{number:g}") for each, number in listed)])
