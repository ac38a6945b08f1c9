"""Certificates for tests, as files."""

from datetime import timedelta
from pathlib import Path

from local.certificates import Pair, make_authority, make_certificate

HOSTS = ("localhost", "127.0.0.1")
EXPIRED = timedelta(days=-1)


class Certificates:
    """An authority with its file `ca`, and files of certificates that it signed."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._authority = make_authority(name)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._authority.certificate)

    def make(self, name: str, life: timedelta = timedelta(days=1), hosts: tuple[str, ...] = HOSTS) -> Pair:
        """A new certificate, in files of this name."""
        made = make_certificate(self._authority, name, hosts, life)
        for path, content in zip(self.files(name), (made.certificate, made.key), strict=True):
            path.write_bytes(content)
            path.chmod(0o600)
        return made

    def files(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate and its key."""
        return self._folder / f"{name}.pem", self._folder / f"{name}.key"

    def client(self, name: str) -> dict[str, Path]:
        """What a client takes that shows this certificate; a new one."""
        self.make(name)
        cert, key = self.files(name)
        return {"cert": cert, "key": key}
