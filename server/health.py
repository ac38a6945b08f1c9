"""`python -m server.health [ADDRESS]`: exits 0 when the server there is ready, else 1 with one sentence."""

import sys

from server.address import address_from_here
from smalti.client.health import ask
from smalti.errors import SmaltiError
from smalti.runtime.settings import ServerSettings, read_settings


def default_address() -> str:
    """Where this machine reaches a server with the settings in the environment; raises SettingsInvalid."""
    return address_from_here(read_settings(ServerSettings).listen).text


def main() -> None:
    """Ask once."""
    try:
        address = sys.argv[1] if len(sys.argv) > 1 else default_address()
        answer = ask(address)
    except SmaltiError as error:
        sys.exit(str(error))
    if answer != "SERVING":
        sys.exit(f"The server at {address} is not ready: {answer}.")


if __name__ == "__main__":
    main()
