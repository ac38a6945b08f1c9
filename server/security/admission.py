"""Decides whether an RPC is let in, by its token and the RPC's group."""

from collections.abc import Iterable
from dataclasses import replace

from server.caller import ANYONE, Caller
from server.messages.checks import client_name_of
from server.security.groups import need_of
from server.security.tokens import Tokens
from smalti.errors import InvalidRequest, NotPermitted, TokenRefused
from smalti.identity import NAME_KEY
from smalti.runtime.metrics import RPCS_REFUSED
from smalti.runtime.names import Group

Metadata = Iterable[tuple[str, str | bytes]]
_HEADER, _SCHEME = "authorization", "bearer "
NOBODY = Caller(name="", groups=frozenset())  # asks for what needs no token


class Admission:
    """Lets in every RPC where there are no tokens; then clients may name themselves."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens

    def admit(self, path: str, metadata: Metadata, *, is_served: bool = True) -> Caller:
        """Who sends this RPC; raises TokenRefused or NotPermitted. Without a valid token every path looks the same.

        With any valid token a client may learn that an RPC is not served: it may know another one to try.
        """
        if self._tokens is None:
            return _named(metadata)
        if (need := need_of(path)) == "nothing":
            return NOBODY
        client = _client(self._tokens, metadata)
        if is_served and need != "any token":
            _check_group(client, need)
        return client


def _named(metadata: Metadata) -> Caller:
    """A client that may name itself. The name says whose share its jobs take; it protects nothing."""
    names = [value for key, value in metadata if key == NAME_KEY]
    if not names:
        return ANYONE
    if len(names) > 1:
        raise InvalidRequest(f"The metadata '{NAME_KEY}' must come once.", field="client")
    return replace(ANYONE, name=client_name_of(str(names[0])))


def _client(tokens: Tokens, metadata: Metadata) -> Caller:
    sent = [value for name, value in metadata if name == _HEADER]
    if not sent:
        RPCS_REFUSED.labels("no_token").inc()
        raise TokenRefused(
            "This server asks for a token: send it as metadata 'authorization: Bearer TOKEN'; "
            "the command smalti does so with --token-file FILE."
        )
    token = _token(sent[0]) if len(sent) == 1 else ""
    if not token:
        RPCS_REFUSED.labels("wrong_token").inc()
        raise TokenRefused("The metadata 'authorization' has a wrong form: write it once, as 'Bearer TOKEN'.")
    client = tokens.client_of(token)
    if client is None:
        RPCS_REFUSED.labels("wrong_token").inc()
        raise TokenRefused("This server does not know the token: ask the people who run it for a new one.")
    return client


def _token(value: str | bytes) -> str:
    """The token in 'Bearer TOKEN'; nothing in anything else."""
    text = value.strip() if isinstance(value, str) else ""
    return text[len(_SCHEME) :].strip() if text[: len(_SCHEME)].lower() == _SCHEME else ""


def _check_group(client: Caller, group: Group) -> None:
    try:
        client.require(group)
    except NotPermitted:
        RPCS_REFUSED.labels("no_group").inc()
        raise
