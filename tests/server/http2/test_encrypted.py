"""TLS: handshakes that are half done or wrong, and the bytes of the other side."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from tests.server.http2.conftest import Connect, Serve
from tests.server.http2.wire import PREFACE, message
from tests.server.http2.words import ECHO, Served
from tests.server.security.certificates import Certificates

OK = 0


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    """An authority and a server's certificate."""
    certificates = Certificates(tmp_path)
    certificates.make("server")
    return certificates


@pytest.fixture
async def encrypted(serve_words: Serve, made: Certificates) -> Served:
    """A server that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*made.files("server"))
    context.set_alpn_protocols(["h2"])
    return await serve_words(encryption=lambda: context)


def trusting(made: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(made.ca))
    context.set_alpn_protocols(["h2"])
    return context


async def test_a_client_is_answered_while_others_stay_within_their_handshake(
    encrypted: Served, made: Certificates, connecting: Connect
):
    stuck = []
    for sent in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", PREFACE, b"GET / HTTP/1.1\r\n\r\n", bytes(500)):
        each = socket.create_connection(("127.0.0.1", encrypted.port))
        each.sendall(sent)
        stuck.append(each)
    wire = await connecting(port=encrypted.port, ssl=trusting(made), server_hostname="localhost")
    assert (await wire.ask(ECHO, message(b"ab"))).status == OK
    for each in stuck:
        each.close()


async def test_a_handshake_that_is_never_finished_ends(
    encrypted: Served, monkeypatch: pytest.MonkeyPatch, until
):
    monkeypatch.setattr("server.http2.server._HANDSHAKE_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", encrypted.port)) as slow:
        slow.sendall(b"\x16\x03\x01")
        slow.settimeout(5)
        assert await asyncio.to_thread(slow.recv, 100) == b""
    await until(lambda: not encrypted.server._greeting)


async def test_a_server_closes_in_spite_of_handshakes_that_are_half_done(encrypted: Served, until):
    with socket.create_connection(("127.0.0.1", encrypted.port)) as slow:
        slow.sendall(b"\x16\x03\x01")
        await until(lambda: encrypted.server._greeting)
        await encrypted.server.close(seconds=0.1)
        slow.settimeout(5)
        assert await asyncio.to_thread(slow.recv, 100) == b""
    await until(lambda: not encrypted.server._greeting)


async def test_a_large_response_over_tls_is_bounded_and_whole(
    encrypted: Served, made: Certificates, connecting: Connect
):
    wire = await connecting(
        port=encrypted.port, ssl=trusting(made), server_hostname="localhost", window=1 << 24
    )
    answer = await wire.ask(ECHO, message(bytes(900_000)))
    assert (answer.status, answer.messages) == (OK, [bytes(900_000)])
