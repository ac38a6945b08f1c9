"""TLS and mutual TLS: who gets a connection, and that certificates are renewed while the server runs."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from server import health
from server.http2.connection import Limits
from server.http2.server import Server
from server.listening import listen
from server.security.protection import Protection
from smalti.address import parse_address
from smalti.client import AsyncClient, Client
from smalti.client.credentials import channel_credentials
from smalti.errors import SettingsInvalid, SmaltiError, Unavailable
from smalti.runtime.certificates import Certificates as Served
from smalti.runtime.settings import ServerSettings
from tests.server.conftest import StartServer, StartSeveral
from tests.server.security.certificates import EXPIRED, Certificates
from tests.server.security.conftest import TOKENS, open_to_others


async def names(address: str, **security: Any) -> list[str]:
    async with AsyncClient(address, **security) as client:
        return [model.name for model in await client.models()]


async def failure(address: str, **security: Any) -> str:
    with pytest.raises(Unavailable) as caught:
        await names(address, **security)
    return str(caught.value)


def trusting(ca: Path) -> dict[str, Any]:
    return {"credentials": channel_credentials(ca=ca)}


async def test_a_client_that_trusts_the_authority_talks_over_tls(
    start_server: StartServer, certificates: Certificates, tls
):
    async with start_server(**tls, **trusting(certificates.ca)) as server:
        assert "toy-vae" in await names(server.address, ca=certificates.ca)
        port = server.address.rpartition(":")[2]
        assert "toy-vae" in await names(f"localhost:{port}", ca=str(certificates.ca))
        assert "toy-vae" in await asyncio.to_thread(models_of, server.address, certificates.ca)


def models_of(address: str, ca: Path) -> list[str]:
    with Client(address, ca=ca) as client:
        return [model.name for model in client.models()]


async def test_a_request_in_plain_text_gets_no_answer_from_a_server_with_tls(
    start_server: StartServer, certificates: Certificates, tls
):
    async with start_server(**tls, **trusting(certificates.ca)) as server:
        assert "perhaps it expects TLS" in await failure(server.address)


async def test_a_client_with_tls_gets_no_answer_from_a_server_without_it_and_learns_why(
    start_server: StartServer, certificates: Certificates
):
    async with start_server() as server:
        said = await failure(server.address, ca=certificates.ca)
    assert said.endswith("it does not use TLS: leave out ca.")


async def test_a_client_refuses_a_certificate_of_another_authority_and_one_for_another_host(
    start_server: StartServer, certificates: Certificates, tls, tmp_path: Path
):
    other = Certificates(tmp_path, "other")
    async with start_server(**tls, **trusting(certificates.ca)) as server:
        said = await failure(server.address, ca=other.ca)
        assert "not signed by an authority that is trusted here (ca)" in said
        certificates.make("server", hosts=("elsewhere.example",))
        served = server.application._protection.certificates
        assert served is not None
        served.files.look()
        assert "for other names of hosts" in await failure(server.address, ca=certificates.ca)


async def test_a_server_that_asks_for_certificates_lets_in_only_those_that_its_authority_signed(
    start_server: StartServer, certificates: Certificates, tls, tmp_path: Path
):
    other = Certificates(tmp_path, "other")
    known, stranger = certificates.client("known"), other.client("stranger")
    certificates.make("late", EXPIRED)
    cert, key = certificates.files("late")
    opening = channel_credentials(ca=certificates.ca, **known)
    async with start_server(**tls, tls_client_ca_file=certificates.ca, credentials=opening) as server:
        assert "toy-vae" in await names(server.address, ca=certificates.ca, **known)
        for refused in ({}, stranger, {"cert": cert, "key": key}):
            said = await failure(server.address, ca=certificates.ca, **refused)
            assert "certificate of the client (cert and key)" in said


async def test_a_new_certificate_serves_new_connections_and_a_broken_one_changes_nothing(
    start_server: StartServer, certificates: Certificates, tls, until
):
    async with start_server(**tls, **trusting(certificates.ca)) as server:
        port = int(server.address.rpartition(":")[2])
        first = await asyncio.to_thread(shown, port)
        certificates.make("server")

        async def is_new() -> bool:
            return await asyncio.to_thread(shown, port) != first

        await until(is_new)
        second = await asyncio.to_thread(shown, port)
        with capture_logs() as logs:
            certificates.files("server")[0].write_text("broken")
            await until(lambda: [line for line in logs if line["log_level"] == "error"])
            assert await asyncio.to_thread(shown, port) == second
        assert "toy-vae" in await names(server.address, ca=certificates.ca)


def shown(port: int) -> str:
    """The certificate that the server shows to a new connection."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=10)


@pytest.mark.parametrize(
    ("breaking", "reason"),
    [
        (lambda cert, key: cert.unlink(), r"^SMALTI_TLS_CERT_FILE: .*server\.pem .*No such file"),
        (lambda cert, key: key.unlink(), r"^SMALTI_TLS_KEY_FILE: .*server\.key .*No such file"),
        (lambda cert, key: cert.write_text("x"), "are no certificate and its key, in PEM"),
        (lambda cert, key: key.write_text("x"), "are no certificate and its key, in PEM"),
    ],
)
def test_files_that_cannot_be_used_are_one_sentence_at_the_start(
    certificates: Certificates, tls, breaking, reason
):
    breaking(*certificates.files("server"))
    with pytest.raises(SettingsInvalid, match=reason):
        Protection(ServerSettings(**tls))


def test_a_key_of_another_certificate_is_refused(certificates: Certificates, tls):
    certificates.make("another")
    with pytest.raises(SettingsInvalid, match=r"are no certificate and its key.*: key values mismatch"):
        Protection(ServerSettings(**tls | {"tls_key_file": certificates.files("another")[1]}))


def test_a_key_with_a_password_is_refused_without_a_question_at_the_terminal(certificates: Certificates, tls):
    key = certificates.files("server")[1]
    opened = load_pem_private_key(key.read_bytes(), password=None)
    key.write_bytes(
        opened.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"some word"))
    )
    with pytest.raises(SettingsInvalid, match="without a password"):
        Protection(ServerSettings(**tls))


def test_an_expired_certificate_is_refused_at_the_start(certificates: Certificates, tls):
    certificates.make("server", EXPIRED)
    with pytest.raises(SettingsInvalid, match="cannot be used: certificate has expired"):
        Protection(ServerSettings(**tls))


def test_a_certificate_without_a_host_is_refused(certificates: Certificates, tls):
    certificates.make("server", hosts=())
    with pytest.raises(SettingsInvalid, match="it names no host"):
        Protection(ServerSettings(**tls))


def test_an_authority_of_clients_that_is_none_is_refused(certificates: Certificates, tls, tmp_path: Path):
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(SettingsInvalid, match=r"^SMALTI_TLS_CLIENT_CA_FILE: .*no certificate in PEM"):
        Protection(ServerSettings(**tls, tls_client_ca_file=tmp_path / "empty.pem"))


@pytest.mark.parametrize("name", ["tls_cert_file", "tls_key_file", "tls_client_ca_file"])
def test_half_of_the_settings_of_tls_is_refused(certificates: Certificates, name: str):
    with pytest.raises(SettingsInvalid, match="TLS needs both"):
        Protection(ServerSettings.model_validate({name: certificates.ca}))


def test_a_key_that_others_may_read_causes_a_warning(
    certificates: Certificates, tls, monkeypatch: pytest.MonkeyPatch
):
    key = certificates.files("server")[1]
    key.chmod(0o644)
    open_to_others(monkeypatch)
    with capture_logs() as logs:
        Served.of(ServerSettings(**tls))
    assert [(line["log_level"], line["file"]) for line in logs] == [("warning", str(key))]
    key.chmod(0o600)
    with capture_logs() as logs:
        Served.of(ServerSettings(**tls))
    assert not logs


async def unanswered(call: Any, method: Any) -> None:
    raise AssertionError("nobody calls")


async def test_a_server_that_others_can_reach_warns_of_what_is_missing(
    certificates: Certificates, tls, tokens_file: Path
):
    tokens = {"tokens_file": tokens_file}
    asking = {"tls_client_ca_file": certificates.ca}
    for given, warning in (
        ({}, "without TLS or tokens: anyone who reaches the port can use it"),
        (tokens, "without TLS: whoever sees the traffic can read the tokens"),
        (tls, "without tokens: anyone who reaches the port can use it"),
        (tls | tokens, None),
        (tls | asking, None),
    ):
        protection = Protection(ServerSettings(**given))
        server = Server(unanswered, Limits(calls=1, message_bytes=1, keepalive_seconds=1))
        with capture_logs() as logs:
            listen(server, parse_address("0.0.0.0:0", name="x", first_port=0), protection)
        assert [line["event"].partition("machine ")[2].startswith(warning or "-") for line in logs] == (
            [True] if warning else []
        )
        assert protection.missing(parse_address("127.0.0.1:1")) == ""
        await server.close(seconds=0)


async def test_the_probe_of_health_trusts_the_servers_own_certificate_whatever_names_it_has(
    start_server: StartServer,
    certificates: Certificates,
    tls,
    tokens_file: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    certificates.make("server", hosts=("*.public.example",))
    opening = {"credentials": channel_credentials(ca=certificates.ca, **certificates.client("known"))}
    given = tls | {"tls_client_ca_file": certificates.ca, "tokens_file": tokens_file}
    async with start_server(ready=None, **given, **opening) as server:
        monkeypatch.setenv("SMALTI_LISTEN", server.address)
        for name, path in given.items():
            monkeypatch.setenv(f"SMALTI_{name.upper()}", str(path))
        result = await asyncio.to_thread(ask_until_ready)
        assert (result.exit_code, result.output) == (0, "")


def ask_until_ready() -> Any:
    for _ in range(100):
        result = CliRunner().invoke(health.main)
        if "NOT_SERVING" not in result.output:
            break
    return result


async def test_the_probe_of_health_asks_another_server_with_the_files_that_it_is_given(
    start_server: StartServer, certificates: Certificates, tls
):
    async with start_server(**tls, **trusting(certificates.ca)) as server:
        for arguments, code in (([server.address, "--ca", str(certificates.ca)], 0), ([server.address], 1)):
            result = await asyncio.to_thread(CliRunner().invoke, health.main, arguments)
            assert (result.exit_code, result.output.count("no answer")) == (code, code)


async def test_tokens_and_tls_work_together_and_a_token_in_plain_text_is_not_sent_to_other_machines(
    start_server: StartServer, certificates: Certificates, tls, tokens_file: Path
):
    async with start_server(**tls, tokens_file=tokens_file, **trusting(certificates.ca)) as server:
        assert "toy-vae" in await names(server.address, ca=certificates.ca, token=TOKENS["ada"])
        with pytest.raises(SmaltiError, match="asks for a token"):
            await names(server.address, ca=certificates.ca)


def test_the_key_is_in_no_repr(certificates: Certificates, tls):
    served = Served.of(ServerSettings(**tls))
    assert "KEY" not in f"{served!r} {served and served.files!r} {certificates.make('x')!r}"


@pytest.mark.slow
async def test_every_process_of_a_server_uses_tls_and_asks_for_a_token(
    start_several: StartSeveral, certificates: Certificates, tls, tokens_file: Path, until
):
    given = tls | {"tokens_file": tokens_file}
    several = start_several(**{f"SMALTI_{name.upper()}": str(path) for name, path in given.items()})
    await until(several.has_started, seconds=90)
    for _ in range(8):  # each is a new connection, which the kernel gives to one of the processes
        assert "toy-vae" in await names(several.address, ca=certificates.ca, token=TOKENS["ada"])
        with pytest.raises(SmaltiError, match="asks for a token"):
            await names(several.address, ca=certificates.ca)
    assert len([line for line in several.said("listening") if line["process"]]) == 2


@pytest.mark.slow
async def test_several_processes_end_with_one_sentence_about_a_missing_key(
    start_several: StartSeveral, certificates: Certificates, tls, until
):
    certificates.files("server")[1].unlink()
    several = start_several(**{f"SMALTI_{name.upper()}": str(path) for name, path in tls.items()})
    await until(lambda: several.supervisor.poll() is not None, seconds=60)
    [gave_up] = several.said("server gives up")
    assert gave_up["reason"].startswith("SMALTI_TLS_KEY_FILE: ")
