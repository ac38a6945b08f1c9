"""`python -m local.secrets` makes everything once, and keeps what is there."""

import stat
import tomllib
from hashlib import sha256
from pathlib import Path

from click.testing import CliRunner

from local.secrets import main
from server.security.protection import Protection
from server.security.tokens import Tokens
from smalti.client.credentials import channel_credentials
from smalti.runtime.redis_url import check_redis_url
from smalti.runtime.settings import ServerSettings


def make(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["--folder", str(folder), *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_server_and_a_client_can_use_what_it_makes(tmp_path: Path):
    folder = tmp_path / "secrets"
    make(folder, "--host", "smalti.example")
    Protection(
        ServerSettings(
            tokens_file=folder / "server/tokens.toml",
            tls_cert_file=folder / "server/server.pem",
            tls_key_file=folder / "server/server.key",
            tls_client_ca_file=folder / "server/ca.pem",
        )
    )
    channel_credentials(ca=folder / "ca.pem", cert=folder / "client.pem", key=folder / "client.key")
    check_redis_url((folder / "redis.url").read_text().strip())
    client = Tokens(folder / "server/tokens.toml").client_of(
        (folder / "tokens/operator.token").read_text().strip()
    )
    assert client is not None
    assert client.name == "operator"
    assert set(client.groups) == {"inference", "jobs", "admin"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name, mode in (("tokens/operator.token", 0o600), ("ca.key", 0o600), ("server/server.key", 0o644)):
        assert stat.S_IMODE((folder / name).stat().st_mode) == mode


def test_what_is_there_is_kept_and_a_client_is_added(tmp_path: Path):
    make(tmp_path)
    before = content(tmp_path)
    assert make(tmp_path) == ""
    assert content(tmp_path) == before
    make(tmp_path, "--client", "ada=inference,jobs")
    after = content(tmp_path)
    assert after.keys() - before.keys() == {"tokens/ada.token"}
    assert [name for name in before if before[name] != after[name]] == ["server/tokens.toml"]
    clients = tomllib.loads(after["server/tokens.toml"].decode())
    assert clients.keys() == {"operator", "ada"}
    assert clients["ada"]["groups"] == ["inference", "jobs"]


def test_a_token_whose_file_was_removed_is_renewed(tmp_path: Path):
    clients = ("--client", "a=jobs", "--client", "ab=inference")
    make(tmp_path, *clients)
    (tmp_path / "tokens/a.token").unlink()
    make(tmp_path, *clients)
    found = tomllib.loads((tmp_path / "server/tokens.toml").read_text())
    for name in ("a", "ab"):
        token = (tmp_path / f"tokens/{name}.token").read_text().strip()
        assert found[name]["sha256"] == sha256(token.encode()).hexdigest()


def test_a_client_with_an_unknown_group_is_refused(tmp_path: Path):
    result = CliRunner().invoke(main, ["--folder", str(tmp_path), "--client", "ada=root"])
    assert result.exit_code == 2
    assert "write it as NAME=GROUP,GROUP" in result.output
