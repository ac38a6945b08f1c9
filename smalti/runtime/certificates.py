"""The server's certificate and the authority of its clients': checked, and read again when they change."""

import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from smalti.errors import SettingsInvalid
from smalti.printable import printable
from smalti.runtime.rereading import Reread, unfit, warn_of_readers
from smalti.runtime.settings import ServerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """Paths of PEM files: the server's certificate and key, and the authority that signs clients' certificates."""

    certificate: Path
    key: Path
    client_authority: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What encrypts a connection, and the names of hosts in the certificate."""

    context: ssl.SSLContext
    names: Sequence[str]


class Certificates:
    """What encrypts the server's connections; raises SettingsInvalid for files that cannot be used."""

    def __init__(self, paths: CertificateFiles) -> None:
        watched = [
            paths.certificate,
            paths.key,
            *([paths.client_authority] if paths.client_authority else []),
        ]
        self._paths = paths
        self.files: Reread[_Read] = Reread(watched, lambda: _read(paths))
        warn_of_readers(paths.key)

    @classmethod
    def of(cls, settings: ServerSettings) -> "Certificates | None":
        """The certificates that the settings name, None if they name none; raises SettingsInvalid."""
        certificate, key = settings.tls_cert_file, settings.tls_key_file
        if certificate and key:
            authority = settings.tls_client_ca_file
            return cls(CertificateFiles(certificate=certificate, key=key, client_authority=authority))
        if certificate or key or settings.tls_client_ca_file:
            raise SettingsInvalid(
                "SMALTI_TLS_CERT_FILE, SMALTI_TLS_KEY_FILE: TLS needs both, the certificate and its key."
            )
        return None

    @property
    def asks_clients(self) -> bool:
        """Whether clients must show a certificate."""
        return self._paths.client_authority is not None

    def context(self) -> ssl.SSLContext:
        """What encrypts a new connection: the certificate that is in force now."""
        return self.files.value.context

    def for_probe(self) -> tuple[grpc.ChannelCredentials, str]:
        """What a client on this machine needs to trust this very certificate, and the name to ask for."""
        certificate = self._paths.certificate.read_bytes()
        key = self._paths.key.read_bytes() if self.asks_clients else None
        own = certificate if self.asks_clients else None
        name = self.files.value.names[0].replace("*", "any")
        return grpc.ssl_channel_credentials(certificate, key, own), name


def _read(paths: CertificateFiles) -> _Read:
    names = _names(_certificate(paths.certificate, paths.key))
    if not names:
        raise unfit("SMALTI_TLS_CERT_FILE", paths.certificate, "it names no host (subjectAltName)")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(paths.certificate, paths.key, password="")
    if paths.client_authority:
        _require_readable("SMALTI_TLS_CLIENT_CA_FILE", paths.client_authority)
        _trust(context, paths.client_authority)
    return _Read(context=context, names=names)


def _certificate(certificate: Path, key: Path) -> Mapping[str, Any]:
    """The certificate as ssl describes it, after a handshake in memory that a client would accept."""
    for variable, path in (("SMALTI_TLS_CERT_FILE", certificate), ("SMALTI_TLS_KEY_FILE", key)):
        _require_readable(variable, path)
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key, password="")  # otherwise ssl asks the terminal for one
        client = ssl.create_default_context(cafile=certificate)
        client.check_hostname = False
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it trusts this certificate itself
        return _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        raise unfit("SMALTI_TLS_CERT_FILE", certificate, error.verify_message) from error
    except ssl.SSLError as error:
        raise SettingsInvalid(
            f"SMALTI_TLS_CERT_FILE, SMALTI_TLS_KEY_FILE: {printable(str(certificate))} and {printable(str(key))} "
            f"are no certificate and its key, in PEM and without a password: {_reason(error)}."
        ) from error


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> Mapping[str, Any]:
    """The server's certificate as the client sees it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    client_end = client.wrap_bio(to_client, to_server)
    for end in (client_end, server_end, client_end):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return client_end.getpeercert() or {}


def _names(certificate: Mapping[str, Any]) -> list[str]:
    return [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]


def _trust(context: ssl.SSLContext, authority: Path) -> None:
    """Let in only clients whose certificates the authority has signed."""
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(authority)
    except ssl.SSLError as error:
        raise unfit("SMALTI_TLS_CLIENT_CA_FILE", authority, "it has no certificate in PEM") from error


def _require_readable(variable: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise unfit(variable, path, f"it cannot be read: {error.strerror}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "wrong form").replace("_", " ").lower()
