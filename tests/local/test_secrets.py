"""`python -m local.secrets` makes everything once, and keeps what is there."""

import stat
import subprocess
import sys
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner

from local.certificates import Pair, hosts_of, make_authority, make_certificate
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
    assert make(tmp_path).startswith(f"Everything is in {tmp_path} already")
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


def refused(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["--folder", str(folder), *arguments])
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)  # a sentence, no traceback
    return result.output


def token(folder: Path, name: str) -> str:
    return (folder / f"tokens/{name}.token").read_text().strip()


def names(folder: Path) -> set[str]:
    return set(hosts_of(Pair((folder / "server/server.pem").read_bytes(), b"")))


def test_renewing_a_token_changes_nothing_else_in_the_file(tmp_path: Path):
    make(tmp_path, "--client", "ada-laptop=inference", "--client", "ada=jobs")
    file = tmp_path / "server/tokens.toml"
    text = file.read_text().replace("[ada]", '["ada"] # hers')
    text += "\n# she draws at night\n[ada.limits]\njobs = 3 # at once\n"
    file.write_text(text)
    old = token(tmp_path, "ada")
    (tmp_path / "tokens/ada.token").unlink()
    make(tmp_path, "--client", "ada=jobs")
    before, after = (sha256(each.encode()).hexdigest() for each in (old, token(tmp_path, "ada")))
    assert before != after
    assert file.read_text() == text.replace(before, after)


def test_without_names_the_clients_of_the_file_get_the_tokens_that_are_missing(tmp_path: Path):
    make(tmp_path, "--client", "ada=jobs", "--client", "bob=inference")
    before = content(tmp_path)
    (tmp_path / "tokens/ada.token").unlink()
    make(tmp_path)
    after = content(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {
        "tokens/ada.token",
        "server/tokens.toml",
    }
    assert after.keys() == before.keys()  # no new client either
    client = Tokens(tmp_path / "server/tokens.toml").client_of(token(tmp_path, "ada"))
    assert client is not None
    assert client.groups == {"jobs"}


def test_a_file_of_tokens_that_was_removed_is_made_from_the_tokens(tmp_path: Path):
    make(tmp_path, "--client", "ada=jobs")
    (tmp_path / "server/tokens.toml").unlink()
    assert "--client NAME=GROUP,GROUP" in refused(tmp_path)
    make(tmp_path, "--client", "ada=jobs")
    assert Tokens(tmp_path / "server/tokens.toml").client_of(token(tmp_path, "ada")) is not None


def test_the_groups_of_a_client_are_changed_and_its_token_is_kept(tmp_path: Path):
    make(tmp_path, "--client", "bob=jobs")
    before = token(tmp_path, "bob")
    assert "bob has the groups jobs, admin now, not jobs\n" in make(tmp_path, "--client", "bob=jobs,admin")
    assert token(tmp_path, "bob") == before
    client = Tokens(tmp_path / "server/tokens.toml").client_of(before)
    assert client is not None
    assert client.groups == {"jobs", "admin"}


@pytest.mark.parametrize("name", ["my-app", "1", "a.b", "x" * 64])
def test_a_client_may_have_every_name_that_the_server_takes(tmp_path: Path, name: str):
    make(tmp_path, "--client", f"{name}=jobs")
    client = Tokens(tmp_path / "server/tokens.toml").client_of(token(tmp_path, name))
    assert client is not None
    assert client.name == name


@pytest.mark.parametrize("name", ["", "-a", "../a", "a/b", "ü", "x" * 65])
def test_other_names_are_refused(tmp_path: Path, name: str):
    assert "a name has ASCII letters" in refused(tmp_path, "--client", f"{name}=jobs")


def test_a_renewed_certificate_has_the_names_of_the_old_one(tmp_path: Path):
    make(tmp_path, "--host", "smalti.example")
    before = names(tmp_path)
    (tmp_path / "server/server.pem").unlink()
    make(tmp_path)
    assert names(tmp_path) == before > {"smalti.example", "localhost"}


def test_another_host_is_added_to_the_certificate(tmp_path: Path):
    make(tmp_path, "--host", "a.example")
    before = names(tmp_path)
    make(tmp_path, "--host", "0:0::7")
    assert names(tmp_path) == before | {"::7"}
    assert "already" in make(tmp_path, "--host", "::7", "--host", "a.example")


def test_a_certificate_of_another_authority_is_left_alone(tmp_path: Path):
    make(tmp_path)
    foreign = make_certificate(make_authority("other"), "other", ["other.example"])
    (tmp_path / "server/server.pem").write_bytes(foreign.certificate)
    (tmp_path / "server/server.key").write_bytes(foreign.key)
    assert "is not of this folder's authority" in refused(tmp_path, "--host", "a.example")
    assert (tmp_path / "server/server.pem").read_bytes() == foreign.certificate


@pytest.mark.parametrize("name", ["server/server.pem", "server/server.key", "client.pem", "ca.key"])
def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, name: str):
    make(tmp_path)
    (tmp_path / name).write_text("garbage")
    assert f"{(tmp_path / name).with_suffix('.pem')} and" in refused(tmp_path)


@pytest.mark.parametrize("text", ["[ada", "ada = 3", "[ada]\nsha256 = 'x'"])
def test_a_file_of_tokens_that_cannot_be_used_is_kept_and_named(tmp_path: Path, text: str):
    make(tmp_path)
    (tmp_path / "server/tokens.toml").write_text(text)
    assert f"{tmp_path / 'server/tokens.toml'}" in refused(tmp_path, "--client", "bob=jobs")
    assert (tmp_path / "server/tokens.toml").read_text() == text


@pytest.mark.parametrize("package", ["cryptography", "tomlkit"])
def test_a_missing_package_is_told_in_one_sentence(package: str):
    code = (
        f"import runpy, sys; sys.modules['{package}'] = None; "
        "runpy.run_module('local.secrets', run_name='__main__')"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert said.stderr.startswith(f"This needs the package {package}, of the extra demo: ")
    assert said.stderr.count("\n") == 1
