"""How clients connect: address, credentials, metadata and limits, checked in one place for both clients."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import grpc

from smalti.address import Address, parse_address
from smalti.client.calls.fields import check_whole
from smalti.client.credentials import NO_SECURITY, Security
from smalti.errors import InvalidRequest, SmaltiError

DEFAULT_ADDRESS = "localhost:50051"
TIMEOUT_SECONDS = 60.0
KEEPALIVE_SECONDS = 10.0  # servers refuse clients that ask more often than every 5 s
MAX_ANSWER_BYTES = 64 * 1024 * 1024  # 256 images of 256 × 256 pixels and 65,536 colours, twice
_LEAST_KEEPALIVE_SECONDS = 0.1  # as for servers
_LONGEST_KEEPALIVE_SECONDS = 86_400.0
_LEAST_TIMEOUT_SECONDS = 0.001
_LONGEST_TIMEOUT_SECONDS = 1e9  # thirty years: beyond it there is no limit
_CONNECT_MS = 10_000  # for one attempt, so that a line with seconds of delay is slow but works
_KEY = re.compile(r"(?!grpc-)[a-z0-9_.-]+(?<!-bin)")  # names that gRPC takes for text
_TEXT = re.compile(r"[ -~]*")  # values that gRPC takes for text

Metadata: TypeAlias = Sequence[tuple[str, str]] | Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Everything that a client's connection needs; made by `Connection.to`.

    Credentials belong to the channel; metadata is sent with every RPC.
    """

    target: Address
    timeout_seconds: float | None  # limit for answers that are not streams; None means no limit
    options: Sequence[tuple[str, int | str]]
    credentials: grpc.ChannelCredentials | None = field(repr=False)
    metadata: Sequence[tuple[str, str]] = field(repr=False)  # it holds the token

    @classmethod
    def to(
        cls,
        address: str,
        *,
        security: Security = NO_SECURITY,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Metadata = (),
        timeout_seconds: float = TIMEOUT_SECONDS,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        host: str = "",
    ) -> Self:
        """Check all settings; raises InvalidRequest. `host` is the name to expect in the server's certificate."""
        target = parse_address(address)
        opening = security.credentials(_credentials(credentials))
        checked = options(target, keepalive_seconds=keepalive_seconds, max_answer_bytes=max_answer_bytes)
        return cls(
            target=target,
            timeout_seconds=_timeout(timeout_seconds),
            options=[*checked, *([("grpc.ssl_target_name_override", host)] if host else [])],
            credentials=opening,
            metadata=(*_checked(metadata), *security.metadata(target, is_encrypted=opening is not None)),
        )

    def channel(self) -> grpc.Channel:
        """A channel for ordinary code."""
        if self.credentials is None:
            return grpc.insecure_channel(self.target.text, self.options)
        return grpc.secure_channel(self.target.text, self.credentials, self.options)

    def async_channel(self) -> grpc.aio.Channel:
        """A channel for asyncio."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target.text, self.options)
        return grpc.aio.secure_channel(self.target.text, self.credentials, self.options)


def options(
    address: Address,
    *,
    keepalive_seconds: float = KEEPALIVE_SECONDS,
    max_answer_bytes: int = MAX_ANSWER_BYTES,
) -> list[tuple[str, int]]:
    """Channel options: large responses pass, and a server that comes back is found within a second.

    While a call runs and nothing arrives for `keepalive_seconds`, gRPC sends a ping. If no reply comes for twice as
    long, it gives the connection up; on a slow line a ping waits behind the data. Raises InvalidRequest.
    """
    seconds = _seconds("keepalive_seconds", keepalive_seconds, least=_LEAST_KEEPALIVE_SECONDS)
    keepalive_ms = round(1000 * min(seconds, _LONGEST_KEEPALIVE_SECONDS))
    check_whole("max_answer_bytes", max_answer_bytes, least=1, bits=31)
    return [
        ("grpc.max_receive_message_length", max_answer_bytes or MAX_ANSWER_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),  # despite its name the deadline of an attempt
        ("grpc.dns_min_time_between_resolutions_ms", 1000),  # a server may come back at another IP address
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", 2 * keepalive_ms),
        ("grpc.http2.max_pings_without_data", 0),  # no limit: a job may wait for hours without news
        ("grpc.http2.ping_timeout_ms", 2 * keepalive_ms),  # a minute otherwise, in spite of the above
        ("grpc.http2.bdp_probe", 0),  # it would send pings between data, and slow lines delay their replies
        ("grpc.enable_http_proxy", int(_wants_proxy(address))),
    ]


def closed(address: str) -> SmaltiError:
    """The error of a call through a closed client."""
    return SmaltiError(f"This client of {address} is closed: make a new one.")


def _timeout(seconds: float) -> float | None:
    """The limit in the form that gRPC takes: None means no limit."""
    seconds = _seconds("timeout_seconds", seconds, least=_LEAST_TIMEOUT_SECONDS)
    return seconds if seconds < _LONGEST_TIMEOUT_SECONDS else None


def _seconds(name: str, value: Any, *, least: float) -> float:
    is_number = hasattr(value, "__float__")  # text has none
    if not is_number or not float(value) >= least:
        raise InvalidRequest(
            f"{name} is {value!r}; it must be a number of seconds, at least {least:g}.", field=name
        )
    return float(value)


def _credentials(given: Any) -> grpc.ChannelCredentials | None:
    """The credentials of a channel; they may be secrets, so a refusal shows only their type."""
    if given is None or isinstance(given, grpc.ChannelCredentials):
        return given
    raise InvalidRequest(
        "credentials must be a grpc.ChannelCredentials, such as grpc.ssl_channel_credentials(), or None, "
        f"not {type(given).__name__}.",
        field="credentials",
    )


def _checked(metadata: Any) -> tuple[tuple[str, str], ...]:
    """The metadata as pairs; values may be secrets, so a refusal shows only the name."""
    try:
        given = metadata.items() if isinstance(metadata, Mapping) else metadata
        pairs = [(name, value) for name, value in given]
    except (TypeError, ValueError):
        raise InvalidRequest(
            "metadata must be a dict or pairs of a name and a text, such as [('x-team', 'art')].",
            field="metadata",
        ) from None
    for name, value in pairs:
        if not (isinstance(name, str) and _KEY.fullmatch(name)):
            raise InvalidRequest(
                f"metadata has the name {name!r}; a name has lower-case letters, digits, '-', '_' and '.', "
                "and neither begins with 'grpc-' nor ends with '-bin'.",
                field="metadata",
            )
        if not (isinstance(value, str) and _TEXT.fullmatch(value)):
            raise InvalidRequest(
                f"The metadata {name} has a value that gRPC cannot send: it must be text in printable ASCII.",
                field="metadata",
            )
    return tuple(pairs)


def _wants_proxy(address: Address) -> bool:
    """Whether grpc_proxy names a proxy for this address. (gRPC would also use http_proxy, which is for the web.)"""
    return bool(os.environ.get("grpc_proxy")) and not address.is_loopback  # noqa: SIM112  # gRPC spells it so
