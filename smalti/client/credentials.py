"""What a client shows to a server and asks of it: a token, certificates, and the rule that tokens need TLS."""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from smalti.address import Address
from smalti.errors import InvalidRequest

File: TypeAlias = str | PathLike[str]
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """The parameters of a client that concern tokens and TLS. Its repr shows no token."""

    token: str | None = field(default=None, repr=False)
    token_file: File | None = None
    ca: File | None = None
    cert: File | None = None
    key: File | None = None
    plaintext_token: bool = False

    def credentials(self, given: grpc.ChannelCredentials | None) -> grpc.ChannelCredentials | None:
        """The channel's credentials: those that were given, or those made from the files. Raises InvalidRequest."""
        made = channel_credentials(ca=self.ca, cert=self.cert, key=self.key)
        if made is not None and given is not None:
            raise _refusal(
                "credentials", "credentials and ca or cert say the same in two ways: give only one."
            )
        return given if made is None else made

    def metadata(self, target: Address, *, is_encrypted: bool) -> Sequence[tuple[str, str]]:
        """The token as metadata, if there is one; raises InvalidRequest if it would travel in plain text."""
        token = self._token()
        if token is None:
            return ()
        if not (is_encrypted or target.is_loopback or self.plaintext_token):
            raise _refusal(
                "token",
                f"The token would travel to {target.text} in plain text: use TLS, with the file of an authority as ca "
                "(--ca FILE), or say plaintext_token=True (--plaintext-token) if the network in between is safe.",
            )
        return (("authorization", f"Bearer {token}"),)

    def _token(self) -> str | None:
        if self.token is not None and self.token_file is not None:
            raise _refusal("token", "token and token_file say the same in two ways: give only one.")
        token: Any = self.token if self.token_file is None else _text("token_file", self.token_file).strip()
        if token is not None and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
            raise _refusal("token", "The token must be one word of visible ASCII characters.")
        return token


NO_SECURITY = Security()


def channel_credentials(
    *, ca: File | None = None, cert: File | None = None, key: File | None = None
) -> grpc.ChannelCredentials | None:
    """TLS that trusts the authorities in `ca` (without it: those that gRPC brings) and shows `cert` to the server.

    None if no file is given. All are paths of PEM files. Raises InvalidRequest.
    """
    if (cert is None) != (key is None):
        raise _refusal("cert", "cert and key belong together: give both.")
    if ca is None and cert is None:
        return None
    roots = None if ca is None else _bytes("ca", ca)
    chain = None if cert is None else _bytes("cert", cert)
    own_key = None if key is None else _bytes("key", key)
    _check(ca, cert, key)
    return grpc.ssl_channel_credentials(roots, own_key, chain)


def _check(ca: File | None, cert: File | None, key: File | None) -> None:
    """Refuse files that gRPC could not use: it would only say later that the connection failed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca is not None:
            context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise _refusal("ca", f"ca is {str(ca)!r}: this file has no certificate in PEM.") from error
    try:
        if cert is not None:
            context.load_cert_chain(cert, key, password="")  # otherwise ssl asks the terminal for one
    except ssl.SSLError as error:
        raise _refusal(
            "cert", "cert and key are no certificate and its key, in PEM and without a password."
        ) from error


def _text(name: str, file: File) -> str:
    try:
        return _bytes(name, file).decode()
    except UnicodeDecodeError:
        raise _refusal(name, f"{name} is {str(file)!r}: this file is not text.") from None


def _bytes(name: str, file: File) -> bytes:
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "no path can be so"
        raise _refusal(name, f"{name} is {str(file)!r}, which cannot be read: {reason}.") from error


def _refusal(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, field=field)
