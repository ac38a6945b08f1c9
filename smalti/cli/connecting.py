"""Connects a command with its server, and puts the server's errors into the words of the command line."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from smalti.client import Client
from smalti.client.channel import DEFAULT_ADDRESS
from smalti.errors import GraphNotServed, ModelNotFound, NoImages, SmaltiError

_FIELD = re.compile(r"^[a-z]+(?= is )|\b[a-z]+(_[a-z]+)+\b")  # the name of a field in a message
_MEANT = re.compile(r".* \(did you mean [^()]*\?\)")  # the server lists every model after it
_INSTEAD = {
    "draw": "submit {model} --watch",
    "submit": "draw {model}",
}  # the command to use if the model has no graph for this one


def open_client(server: str) -> Client:
    """Every command's client is made here."""
    return Client(server)


def connected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command a client of the server that --server or SMALTI_SERVER names.

    An error that names a field of a request names the command's option instead.
    """

    @click.option(
        "--server",
        envvar="SMALTI_SERVER",
        default=DEFAULT_ADDRESS,
        show_default=True,
        show_envvar=True,
        metavar="ADDRESS",
        help="Address of the server, HOST:PORT.",
    )
    @wraps(command)
    def run(*args: Any, server: str, **options: Any) -> Any:
        try:
            with open_client(server) as client:
                return command(client, *args, **options)
        except SmaltiError as error:
            error.args = (_reworded(error, click.get_current_context().command, options.get("model", "")),)
            raise

    return run


def _reworded(error: SmaltiError, command: click.Command, model: str) -> str:
    """The error's message with options in place of fields, and with the command to use instead."""
    if isinstance(error, ModelNotFound) and (meant := _MEANT.match(str(error))):
        return f"{meant[0]}; smalti models lists them all."
    message = _FIELD.sub(lambda field: _options_of(command).get(field[0], field[0]), str(error))
    has_other_graphs = isinstance(error, GraphNotServed) and not isinstance(error, NoImages)
    instead = _INSTEAD.get(command.name or "") if has_other_graphs else None
    return f"{message} The command for it: smalti {instead.format(model=model)}" if instead else message


def _options_of(command: click.Command) -> dict[str, str]:
    """The command's options, by the field that each fills."""
    return {
        param.name or "": max(param.opts, key=len)
        for param in command.params
        if isinstance(param, click.Option)
    }
