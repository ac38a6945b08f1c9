"""`python -m local.secrets`: makes the certificates, tokens and passwords for docker-compose.secure.yml."""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import click

from local.certificates import Pair, make_authority, make_certificate

GROUPS = ("inference", "jobs", "admin")
_HOSTS = ("localhost", "127.0.0.1", "::1", "server")  # `server` is its name among the containers
_FOR_CONTAINERS = ("server/", "metrics.", "redis.")
_REDIS_ACL = """user default on nopass resetkeys resetchannels -@all +ping
user smalti on >{password} ~* &* +@all
"""


class Folder:
    """The folder of secrets. What is there already is kept; a file that is removed is made anew.

    Only its owner may enter it. What containers get may be read by all, because their users are others. They get
    `server/` as a folder: they would not see that a file of their own was replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        for part in ("server", "tokens"):
            (path / part).mkdir(exist_ok=True)
        (path / "server").chmod(0o755)

    def make_certificates(self, hosts: Sequence[str]) -> None:
        """An authority, and certificates of the server and of a client that it signed."""
        authority = self._pair("ca", lambda: make_authority("smalti's own authority"))
        self._text("server/ca.pem", authority.certificate.decode)
        self._pair("server/server", lambda: make_certificate(authority, "smalti", [*_HOSTS, *hosts]))
        self._pair("client", lambda: make_certificate(authority, "smalti client"))

    def make_passwords(self) -> None:
        """The token of /metrics, and a password of Redis as its ACL and as smalti's URL."""
        self._text("metrics.token", lambda: f"{secrets.token_urlsafe(32)}\n")
        if not self._has("redis.acl", "redis.url"):
            password = secrets.token_urlsafe(32)
            self._write("redis.acl", _REDIS_ACL.format(password=password))
            self._write("redis.url", f"redis://smalti:{password}@redis:6379/0\n")

    def make_tokens(self, clients: Mapping[str, Sequence[str]]) -> None:
        """A token for each client that has none, and its digest in the file of tokens."""
        for name, groups in clients.items():
            if not self._has(f"tokens/{name}.token"):
                token = secrets.token_urlsafe(32)
                self._write(f"tokens/{name}.token", f"{token}\n")
                self._add_client(name, groups, token)

    def _add_client(self, name: str, groups: Sequence[str], token: str) -> None:
        quoted = ", ".join(f'"{group}"' for group in groups)
        table = f'[{name}]\ngroups = [{quoted}]\nsha256 = "{sha256(token.encode()).hexdigest()}"\n'
        file = self._path / "server/tokens.toml"
        before = _without(name, file.read_text()) if file.exists() else ""
        self._write("server/tokens.toml", before + table)

    def _pair(self, name: str, make: Callable[[], Pair]) -> Pair:
        if not self._has(f"{name}.pem", f"{name}.key"):
            made = make()
            self._write(f"{name}.key", made.key.decode())
            self._write(f"{name}.pem", made.certificate.decode())
        return Pair((self._path / f"{name}.pem").read_bytes(), (self._path / f"{name}.key").read_bytes())

    def _text(self, name: str, make: Callable[[], str]) -> None:
        if not self._has(name):
            self._write(name, make())

    def _has(self, *names: str) -> bool:
        return all((self._path / name).exists() for name in names)

    def _write(self, name: str, text: str) -> None:
        """In one step: a server may be reading the file."""
        new = self._path / f"{name}.new"
        new.touch(mode=0o600)
        new.write_text(text)
        new.chmod(0o644 if name.startswith(_FOR_CONTAINERS) else 0o600)
        new.replace(self._path / name)
        click.echo(f"made {self._path / name}")


def _without(name: str, tokens: str) -> str:
    """The tables of all other clients."""
    return re.sub(rf"^\[{name}\b.*?(?=^\[|\Z)", "", tokens, flags=re.MULTILINE | re.DOTALL)


def _clients(_: click.Context, __: click.Parameter, given: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The groups of each client in NAME=GROUP,GROUP."""
    clients = {}
    for text in given:
        name, _equals, groups = text.partition("=")
        clients[name] = groups.split(",")
        if not (name.isascii() and name.isidentifier()) or not set(clients[name]) <= set(GROUPS):
            raise click.BadParameter(
                f"'{text}': write it as NAME=GROUP,GROUP with groups of {', '.join(GROUPS)}."
            )
    return clients


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("secrets"), show_default=True)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name or IP address of the server, for its certificate.",
)
@click.option(
    "--client",
    "clients",
    multiple=True,
    metavar="NAME=GROUP,GROUP",
    callback=_clients,
    default=[f"operator={','.join(GROUPS)}"],
    show_default=True,
    help="A client and the groups of RPCs that it may use.",
)
def main(folder: Path, hosts: Sequence[str], clients: Mapping[str, Sequence[str]]) -> None:
    """Make certificates, tokens and passwords in a folder. What is there already is kept.

    To renew something, remove its file and run this again; to renew the authority, remove the folder. A client needs
    its file tokens/NAME.token and ca.pem, and if the server asks for a certificate also client.pem and client.key.
    """
    secrets_folder = Folder(folder)
    secrets_folder.make_certificates(hosts)
    secrets_folder.make_passwords()
    secrets_folder.make_tokens(clients)


if __name__ == "__main__":
    main(prog_name="python -m local.secrets")
