"""A port that is reserved for several processes of one server."""

import socket

import pytest

from server.address import listening_address
from server.reserving import bind, reserve
from smalti.errors import SettingsInvalid

ANY = listening_address("127.0.0.1:0")


def listen(port: int, *, shares: bool) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares))
    listening.bind(("127.0.0.1", port))
    listening.listen()
    return listening


def test_a_reserved_port_takes_no_connection_and_its_own_processes_may_listen_there():
    reserved = reserve(ANY)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", reserved.port))
    with (
        listen(reserved.port, shares=True),
        listen(reserved.port, shares=True),
        socket.create_connection(("127.0.0.1", reserved.port)),
    ):
        reserved.close()


def test_a_reserved_port_is_taken_for_others_until_it_is_given_back():
    reserved = reserve(ANY)
    address = listening_address(f"127.0.0.1:{reserved.port}")
    for take in (bind, reserve):
        with pytest.raises(SettingsInvalid, match="Address already in use"):
            take(address)
    reserved.close()
    port, sockets = bind(address)
    assert port == reserved.port
    for each in sockets:
        each.close()


def test_a_port_that_a_process_is_ready_to_share_is_refused_too():
    with listen(0, shares=True) as stranger:
        address = listening_address(f"127.0.0.1:{stranger.getsockname()[1]}")
        with pytest.raises(SettingsInvalid, match="Address already in use"):
            reserve(address)


def test_all_addresses_of_a_name_get_one_port():
    reserved = reserve(listening_address("localhost:0"))
    assert {each.getsockname()[1] for each in reserved.sockets} == {reserved.port}
    reserved.close()
