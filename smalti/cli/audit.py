"""The command `smalti admin audit`: checks the whole queue now."""

import click

from smalti.cli import options
from smalti.cli.connecting import connected
from smalti.cli.output import print_json, print_table
from smalti.client import Client


@click.command()
@options.as_json
@connected
def audit(client: Client, as_json: bool) -> None:
    """Check the whole queue now, and repair what is not as it must be.

    The server does this by itself once a minute. docs/operations.md explains the kinds of repairs.
    """
    repairs = client.audit_queue()
    if as_json:
        print_json(repairs)
    elif repairs:
        print_table(
            [("REPAIRED", "TIMES"), *((kind, str(number)) for kind, number in sorted(repairs.items()))]
        )
    else:
        click.echo("The queue is as it must be.")
