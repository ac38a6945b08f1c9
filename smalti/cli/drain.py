"""The command `smalti admin drain`: a worker gives back its samples and ends."""

import click

from smalti.cli import options
from smalti.cli.connecting import connected
from smalti.cli.output import print_json
from smalti.client import Client
from smalti.printable import printable


@click.command()
@click.argument("worker")
@options.as_json
@connected
def drain(client: Client, worker: str, as_json: bool) -> None:
    """Let WORKER give back its samples and end, as after SIGTERM, within about two seconds.

    No row is lost. smalti admin status names the workers. One that is started again has another name.
    """
    client.drain_worker(worker)
    if as_json:
        print_json({"draining": worker})
    else:
        click.echo(f"{printable(worker)} gets no more samples and ends.")
