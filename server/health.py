"""`python -m server.health [ADDRESS]`: exits 0 when the server there is ready, else 1 with one sentence."""

import sys

import click

from server.address import address_from_here
from smalti.client.health import ask
from smalti.errors import SmaltiError
from smalti.runtime.settings import ServerSettings, read_settings


def default_address() -> str:
    """Where this machine reaches a server with the settings in the environment; raises SettingsInvalid."""
    return address_from_here(read_settings(ServerSettings).listen).text


@click.command()
@click.argument("address", required=False)
def main(address: str | None) -> None:
    """Ask the server at ADDRESS (HOST:PORT) whether it is ready.

    Without ADDRESS, ask the server that the variables SMALTI_* of this environment configure. Exits with 0 if it is
    ready, or with 1 and one sentence.
    """
    try:
        address = default_address() if address is None else address
        answer = ask(address)
    except SmaltiError as error:
        sys.exit(str(error))
    if answer != "SERVING":
        sys.exit(f"The server at {address} is not ready: {answer}.")


if __name__ == "__main__":
    main(prog_name="python -m server.health")
