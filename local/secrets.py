"""`python -m local.secrets`: makes the certificates, tokens and passwords for docker-compose.secure.yml."""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import click

from smalti.errors import SettingsInvalid
from smalti.runtime.names import CLIENT_NAME, GROUPS

try:
    from local.certificates import (
        Pair,
        host_in_certificate,
        hosts_of,
        is_signed_by,
        make_authority,
        make_certificate,
        require_pair,
    )
    from local.clients_file import ClientsFile
except ModuleNotFoundError as error:
    raise SystemExit(
        f"This needs the package {error.name}, of the extra demo: "
        "run `.venv/bin/python -m pip install -c constraints.txt -e '.[demo]'`, then try again."
    ) from None

_HOSTS = ("localhost", "127.0.0.1", "::1", "server")  # `server` is its name among the containers
_OPERATOR = {"operator": GROUPS}  # the client of a new folder
_FOR_CONTAINERS = ("server/", "metrics.", "redis.")
_REDIS_ACL = """user default on nopass resetkeys resetchannels -@all +ping
user smalti on >{password} ~* &* +@all
"""


class Folder:
    """The folder of secrets. What is there already is kept; a file that is removed is made anew.

    Only its owner may enter it. What containers get may be read by all, because their users are others. They get
    `server/` as a folder: they would not see that a file of their own was replaced. Raises SettingsInvalid for files
    that cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_changed = False
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        for part in ("server", "tokens"):
            (path / part).mkdir(exist_ok=True)
        (path / "server").chmod(0o755)

    def make_certificates(self, hosts: Sequence[str]) -> None:
        """An authority, and certificates of the server and of a client that it signed."""
        authority = self._pair("ca", lambda: make_authority("smalti's own authority"))
        self._text("server/ca.pem", authority.certificate.decode)
        self._make_servers(authority, hosts)
        self._pair("client", lambda: make_certificate(authority, "smalti client"))

    def _make_servers(self, authority: Pair, hosts: Sequence[str]) -> None:
        """The server's certificate. Its names are in a file, too: a certificate that was removed has none."""
        certificate, names = self._path / "server/server.pem", self._path / "server/hosts"
        old = self._read_pair("server/server")
        known = names.read_text().split() if names.exists() else (hosts_of(old) if old else _HOSTS)
        wanted = list(dict.fromkeys([*known, *hosts]))
        if old and not set(hosts) <= set(hosts_of(old)):
            if not is_signed_by(authority, old):
                raise SettingsInvalid(
                    f"{certificate} is not of this folder's authority, so --host cannot change it."
                )
            certificate.unlink()
        self._pair("server/server", lambda: make_certificate(authority, "smalti", wanted))
        if not names.exists() or names.read_text().split() != wanted:
            self._write("server/hosts", "".join(f"{name}\n" for name in wanted))

    def make_passwords(self) -> None:
        """The token of /metrics, and a password of Redis as its ACL and as smalti's URL."""
        self._text("metrics.token", lambda: f"{secrets.token_urlsafe(32)}\n")
        if not self._has("redis.acl", "redis.url"):
            password = secrets.token_urlsafe(32)
            self._write("redis.acl", _REDIS_ACL.format(password=password))
            self._write("redis.url", f"redis://smalti:{password}@redis:6379/0\n")

    def make_tokens(self, given: Mapping[str, Sequence[str]]) -> None:
        """Give these clients their groups, and a token if they have none; without names, the clients of the file."""
        file = ClientsFile(self._path / "server/tokens.toml")
        clients = given or {name: file.groups(name) for name in file.names} or self._first_client()
        for name, groups in clients.items():
            self._make_client(file, name, groups)

    def _first_client(self) -> Mapping[str, Sequence[str]]:
        if any((self._path / "tokens").glob("*.token")):
            raise SettingsInvalid(
                f"{self._path / 'server/tokens.toml'} has no clients, but there are tokens: "
                "say the groups of each with --client NAME=GROUP,GROUP."
            )
        return _OPERATOR

    def _make_client(self, file: ClientsFile, name: str, groups: Sequence[str]) -> None:
        token, is_known = f"tokens/{name}.token", name in file.names
        if is_known and sorted(file.groups(name)) != sorted(groups):
            click.echo(f"{name} has the groups {', '.join(groups)} now, not {', '.join(file.groups(name))}")
            file.set(name, groups=list(groups))
            self._write("server/tokens.toml", file.text)
        if is_known and self._has(token):
            return
        self._text(token, lambda: f"{secrets.token_urlsafe(32)}\n")
        digest = sha256((self._path / token).read_text().strip().encode()).hexdigest()
        file.set(name, groups=list(groups), sha256=digest)
        self._write("server/tokens.toml", file.text)

    def _pair(self, name: str, make: Callable[[], Pair]) -> Pair:
        if found := self._read_pair(name):
            return found
        made = make()
        self._write(f"{name}.key", made.key.decode())
        self._write(f"{name}.pem", made.certificate.decode())
        return made

    def _read_pair(self, name: str) -> Pair | None:
        """A certificate and its key; None if one of the files is missing."""
        if not self._has(f"{name}.pem", f"{name}.key"):
            return None
        pair = Pair((self._path / f"{name}.pem").read_bytes(), (self._path / f"{name}.key").read_bytes())
        try:
            require_pair(pair)
        except ValueError:
            files = f"{self._path / name}.pem and {name.rpartition('/')[2]}.key"
            raise SettingsInvalid(
                f"{files} are no certificate and its key, in PEM and without a password: "
                "remove the certificate, and run this again."
            ) from None
        return pair

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
        self.is_changed = True


def _hosts(_: click.Context, __: click.Parameter, given: Sequence[str]) -> Sequence[str]:
    """The names as certificates spell them."""
    try:
        return [host_in_certificate(host) for host in given]
    except ValueError:
        raise click.BadParameter("write it in ASCII, as DNS has it (xn--...), or as an IP address.") from None


def _clients(_: click.Context, __: click.Parameter, given: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The groups of each client in NAME=GROUP,GROUP."""
    clients = {}
    for text in given:
        name, _equals, groups = text.partition("=")
        clients[name] = groups.split(",")
        if not (re.fullmatch(CLIENT_NAME, name)) or not set(clients[name]) <= set(GROUPS):
            raise click.BadParameter(
                f"'{text}': write it as NAME=GROUP,GROUP with groups of {', '.join(GROUPS)}; "
                "a name has ASCII letters, digits and . _ -, up to 64."
            )
    return clients


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("secrets"), show_default=True)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    callback=_hosts,
    help="A name or IP address of the server, for its certificate.",
)
@click.option(
    "--client",
    "clients",
    multiple=True,
    metavar="NAME=GROUP,GROUP",
    callback=_clients,
    help="A client and the groups of RPCs that it may use. In a new folder the default is "
    f"operator={','.join(GROUPS)}.",
)
def main(folder: Path, hosts: Sequence[str], clients: Mapping[str, Sequence[str]]) -> None:
    """Make certificates, tokens and passwords in a folder. What is there already is kept.

    To renew something, remove its file and run this again; to renew the authority, remove the folder. Without --client,
    each client in server/tokens.toml that has no file tokens/NAME.token gets a new token. A client needs
    its file tokens/NAME.token and ca.pem, and if the server asks for a certificate also client.pem and client.key.
    """
    try:
        secrets_folder = Folder(folder)
        secrets_folder.make_certificates(hosts)
        secrets_folder.make_passwords()
        secrets_folder.make_tokens(clients)
    except SettingsInvalid as error:
        raise click.ClickException(str(error)) from error
    if not secrets_folder.is_changed:
        click.echo(
            f"Everything is in {folder} already; to renew something, remove its file and run this again."
        )


if __name__ == "__main__":
    main(prog_name="python -m local.secrets")
