"""The commands `smalti admin pause` and `smalti admin resume`: whether samples are handed out."""

import click

from smalti.cli import options
from smalti.cli.connecting import connected
from smalti.cli.output import print_json
from smalti.client import Client


@click.command()
@options.as_json
@connected
def pause(client: Client, as_json: bool) -> None:
    """Hand out no more samples of any job.

    Samples that workers hold are drawn to their ends, and jobs can still be submitted.
    """
    client.pause_pool()
    _say(as_json, paused=True, words="The pool is paused; smalti admin resume goes on.")


@click.command()
@options.as_json
@connected
def resume(client: Client, as_json: bool) -> None:
    """Hand out samples again."""
    client.resume_pool()
    _say(as_json, paused=False, words="Samples are handed out.")


def _say(as_json: bool, *, paused: bool, words: str) -> None:
    if as_json:
        print_json({"paused": paused})
    else:
        click.echo(words)
