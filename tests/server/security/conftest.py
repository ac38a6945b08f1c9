"""Servers that ask for tokens."""

from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from tests.server.conftest import Running, StartServer
from tests.server.security.certificates import Certificates

TOKENS = {  # of each client; its groups are in GROUPS
    "ada": "the-token-of-ada-7Yx",
    "bob": "the-token-of-bob-3Qm",
    "eve": "the-token-of-eve-4Ht",
    "root": "the-token-of-root-9Zk",
}
GROUPS = {"ada": ["inference"], "bob": ["jobs"], "eve": ["jobs"], "root": ["inference", "jobs", "admin"]}


def write_tokens(path: Path, tokens: Mapping[str, str] = TOKENS) -> Path:
    """A file with these clients."""
    tables = [
        f'[{name}]\ngroups = {GROUPS[name]}\nsha256 = "{sha256(token.encode()).hexdigest()}"\n'
        for name, token in tokens.items()
    ]
    path.write_text("\n".join(tables))
    return path


def bearer(name: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a client."""
    return (("authorization", f"Bearer {TOKENS[name]}"),)


def open_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if other users could enter the folders above the test's files; those of pytest are closed."""
    monkeypatch.setattr("smalti.runtime.rereading._others_reach", lambda path: True)


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    """A file with the clients of TOKENS."""
    return write_tokens(tmp_path / "tokens.toml")


@pytest.fixture
async def guarded(start_server: StartServer, tokens_file: Path) -> AsyncIterator[Running]:
    """A server that asks for a token."""
    async with start_server(tokens_file=tokens_file) as running:
        yield running


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """An authority with a certificate named server."""
    made = Certificates(tmp_path)
    made.make("server")
    return made


@pytest.fixture
def tls(certificates: Certificates) -> dict[str, Path]:
    """The settings of a server that uses TLS."""
    cert, key = certificates.files("server")
    return {"tls_cert_file": cert, "tls_key_file": key}
