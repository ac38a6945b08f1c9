"""`python -m server.health [ADDRESS]`: exits 0 when the server there is ready, else 1 with one sentence."""

import sys
from pathlib import Path

import click

from server.address import address_from_here
from smalti.client.credentials import channel_credentials
from smalti.client.health import ask
from smalti.errors import SmaltiError
from smalti.runtime.certificates import Certificates
from smalti.runtime.settings import ServerSettings, read_settings

_FILE = click.Path(path_type=Path)


def default_address() -> str:
    """Where this machine reaches a server with the settings in the environment; raises SettingsInvalid."""
    return address_from_here(read_settings(ServerSettings).listen).text


def ask_own(ca: Path | None, cert: Path | None, key: Path | None) -> tuple[str, str]:
    """The address and the health of the server that the environment configures; raises SettingsInvalid.

    Over TLS it trusts the server's own certificate, unless an authority is given. A server that asks clients for a
    certificate is shown its own, unless another one is given.
    """
    address, certificates = default_address(), Certificates.of(read_settings(ServerSettings))
    if certificates is None or ca is not None:
        return address, ask(address, credentials=channel_credentials(ca=ca, cert=cert, key=key))
    credentials, name = certificates.for_probe()
    return address, ask(address, credentials=credentials, host=name)


@click.command()
@click.argument("address", required=False)
@click.option("--ca", type=_FILE, envvar="SMALTI_CA", help="Use TLS; trust the authorities in this file.")
@click.option("--cert", type=_FILE, envvar="SMALTI_CERT", help="Show this certificate to the server.")
@click.option("--key", type=_FILE, envvar="SMALTI_KEY", help="The key of --cert.")
def main(address: str | None, ca: Path | None, cert: Path | None, key: Path | None) -> None:
    """Ask the server at ADDRESS (HOST:PORT) whether it is ready.

    Without ADDRESS, ask the server that the variables SMALTI_* of this environment configure. Exits with 0 if it is
    ready, or with 1 and one sentence.
    """
    try:
        if address is None:
            address, answer = ask_own(ca, cert, key)
        else:
            answer = ask(address, credentials=channel_credentials(ca=ca, cert=cert, key=key))
    except SmaltiError as error:
        sys.exit(str(error))
    if answer != "SERVING":
        sys.exit(f"The server at {address} is not ready: {answer}.")


if __name__ == "__main__":
    main(prog_name="python -m server.health")
