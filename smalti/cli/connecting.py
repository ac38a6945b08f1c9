"""Connects a command with its server, and puts the server's errors into the words of the command line."""

import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import click

from smalti.client import Client
from smalti.client.channel import DEFAULT_ADDRESS
from smalti.errors import GraphNotServed, ModelNotFound, NoImages, SmaltiError
from smalti.identity import NAME_KEY

_FIELD = re.compile(r"^[a-z]+(?= is )|\b[a-z]+(_[a-z]+)+\b")  # the name of a field in a message
_MEANT = re.compile(r".* \(did you mean [^()]*\?\)")  # the server lists every model after it
_INSTEAD = {
    "draw": "submit {model} --watch",
    "submit": "draw {model}",
}  # the command to use if the model has no graph for this one


def open_client(server: str, **options: Any) -> Client:
    """Every command's client is made here."""
    return Client(server, **options)


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
    @click.option(
        "--client-name",
        envvar="SMALTI_CLIENT_NAME",
        show_envvar=True,
        metavar="NAME",
        help="Whose share of the workers the jobs take, where the server asks for no tokens.",
    )
    @_secured
    @wraps(command)
    def run(
        *args: Any, server: str, client_name: str | None, security: Mapping[str, Any], **options: Any
    ) -> Any:
        named = {"metadata": [(NAME_KEY, client_name)]} if client_name else {}
        try:
            with open_client(server, **named, **security) as client:
                return command(client, *args, **options)
        except SmaltiError as error:
            error.args = (_reworded(error, click.get_current_context().command, options.get("model", "")),)
            raise

    return run


def _secured(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of tokens and TLS; the command gets them as one argument, `security`."""

    @_file(
        "--token-file", "SMALTI_TOKEN_FILE", "Send the token in FILE. SMALTI_TOKEN may hold the token itself."
    )
    @_file("--ca", "SMALTI_CA", "Use TLS, and trust the authorities in FILE (PEM).")
    @_file("--cert", "SMALTI_CERT", "Show the server the certificate in FILE (PEM).")
    @_file("--key", "SMALTI_KEY", "The key of --cert (PEM).")
    @click.option(
        "--plaintext-token", is_flag=True, help="Send the token to other machines without TLS, too."
    )
    @wraps(command)
    def run(*args: Any, token_file: Path | None, plaintext_token: bool, **options: Any) -> Any:
        security = {name: options.pop(name) for name in ("ca", "cert", "key")}
        security |= {"token_file": token_file, "plaintext_token": plaintext_token}
        if token_file is None:
            security["token"] = (
                os.environ.get("SMALTI_TOKEN") or None
            )  # no option: `ps` would show it to everybody
        else:
            _warn_of_readers(token_file)
        return command(*args, security=security, **options)

    return run


def _file(option: str, variable: str, words: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        option, type=click.Path(path_type=Path), envvar=variable, show_envvar=True, metavar="FILE", help=words
    )


def _warn_of_readers(token_file: Path) -> None:
    """Warn if others may read this user's token."""
    with suppress(OSError):  # a missing file is refused later
        status = token_file.stat()
        if status.st_uid == os.getuid() and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            click.echo(f"Warning: others may read {token_file}: chmod go-rwx it.", err=True)


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
