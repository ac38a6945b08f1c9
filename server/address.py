"""Reads SMALTI_LISTEN, the address where a server listens."""

from smalti.address import Address, parse_address
from smalti.errors import SettingsInvalid

NAME = "SMALTI_LISTEN"


def listening_address(text: str) -> Address:
    """The address in SMALTI_LISTEN; port 0 means any free port. Raises SettingsInvalid."""
    return parse_address(text, name=NAME, first_port=0, refusal=SettingsInvalid)


def address_from_here(listen: str) -> Address:
    """The address at which this machine reaches a server with this SMALTI_LISTEN; raises SettingsInvalid."""
    address = listening_address(listen).seen_from_here
    if not address.port:
        raise SettingsInvalid(f"{NAME} has port 0, so the server chooses a port: give the address to ask.")
    return address
