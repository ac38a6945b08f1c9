"""Tokens and files of TLS: what a client sends, what it refuses, and that nothing shows a token."""

from pathlib import Path

import grpc
import pytest

from local.certificates import make_authority, make_certificate
from smalti.client import AsyncClient, Client
from smalti.client.channel import Connection
from smalti.client.credentials import Security
from smalti.errors import InvalidRequest
from smalti.v1 import models_pb2

TOKEN = "a-secret-word"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """An authority, a certificate that it signed, and its key."""
    authority = make_authority("ca")
    own = make_certificate(authority, "own")
    content = {"ca": authority.certificate, "cert": own.certificate, "key": own.key}
    made = {name: tmp_path / f"{name}.pem" for name in content}
    for name, path in made.items():
        path.write_bytes(content[name])
    return made


async def test_a_token_goes_with_every_request_as_a_bearer(server, tmp_path: Path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse()
    for given in ({"token": TOKEN}, {"token_file": file}, {"token_file": str(file)}):
        with Client(server.address, **given) as client:
            client.models()
        async with AsyncClient(server.address, **given) as async_client:
            await async_client.models()
    assert len(server.metadata) == 6
    assert {sent["authorization"] for _, sent in server.metadata} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("address", ["192.0.2.1:50051", "smalti.example:50051", "[2001:db8::1]:50051"])
def test_a_token_is_not_sent_in_plain_text_to_other_machines_unless_that_is_said(address: str, files):
    with pytest.raises(InvalidRequest, match=r"would travel to .* in plain text") as caught:
        Client(address, token=TOKEN)
    assert TOKEN not in str(caught.value)
    for given in ({"plaintext_token": True}, {"ca": files["ca"]}):
        Client(address, token=TOKEN, **given).close()
    Client(address, token=TOKEN, credentials=grpc.ssl_channel_credentials()).close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
def test_a_token_is_sent_in_plain_text_on_this_machine(address: str):
    assert ("authorization", f"Bearer {TOKEN}") in Connection.to(
        address, security=Security(token=TOKEN)
    ).metadata


def test_no_repr_shows_a_token():
    security = Security(token=TOKEN)
    connection = Connection.to("localhost:1", security=security, metadata={"x-key": "another-secret"})
    with Client("localhost:1", token=TOKEN) as client:
        shown = f"{security!r} {connection!r} {client!r}"
    assert TOKEN not in shown
    assert "another-secret" not in shown


@pytest.mark.parametrize("token", ["", "two words", "ä", "line\nbreak", 5])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(token):
    with pytest.raises(InvalidRequest, match="must be one word of visible ASCII") as caught:
        Client("localhost:1", token=token)
    assert caught.value.field == "token"


def test_what_is_said_twice_or_by_half_is_refused(files, tmp_path: Path):
    for given, sentence in (
        ({"token": TOKEN, "token_file": tmp_path / "x"}, "token and token_file say the same"),
        ({"cert": files["cert"]}, "cert and key belong together"),
        ({"key": files["key"]}, "cert and key belong together"),
        ({"ca": files["ca"], "credentials": grpc.ssl_channel_credentials()}, "credentials and ca or cert"),
    ):
        with pytest.raises(InvalidRequest, match=sentence):
            Client("localhost:1", **given)


@pytest.mark.parametrize("name", ["ca", "cert", "key", "token_file"])
def test_a_file_that_cannot_be_used_is_named(files, tmp_path: Path, name: str):
    given = {**files, name: tmp_path / "missing"}
    with pytest.raises(InvalidRequest, match=rf"^{name} is '.*missing', which cannot be read: No such file"):
        Client("localhost:1", **given)
    empty = tmp_path / "empty"
    empty.write_bytes(b"\xff")
    with pytest.raises(InvalidRequest, match=r"PEM|is not text"):
        Client("localhost:1", **{**files, name: empty})
