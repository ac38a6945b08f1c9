"""What the two clients' connections have in common."""

import os
from typing import Any

from smalti.address import Address
from smalti.client.messages import Palette, check_whole
from smalti.client.values import ModelVersion
from smalti.errors import InvalidRequest, SmaltiError

DEFAULT_ADDRESS = "localhost:50051"
KEEPALIVE_SECONDS = 10.0  # servers refuse clients that ask more often than every 5 s
MAX_ANSWER_BYTES = 64 * 1024 * 1024  # 256 images of 256 × 256 pixels and 65,536 colours, twice
_LEAST_KEEPALIVE_SECONDS = 0.1  # as of servers
_LONGEST_KEEPALIVE_SECONDS = 86_400.0
_LEAST_TIMEOUT_SECONDS = 0.001
_LONGEST_TIMEOUT_SECONDS = 1e9  # thirty years: beyond it there is no limit
_CONNECT_MS = 10_000  # for one attempt: a line of seconds is slow, but no reason to give up


def options(
    address: Address,
    *,
    keepalive_seconds: float = KEEPALIVE_SECONDS,
    max_answer_bytes: int = MAX_ANSWER_BYTES,
) -> list[tuple[str, int]]:
    """Channel options: large responses pass, and a server that comes back is found within a second.

    While a call runs, a connection on which nothing came for `keepalive_seconds` is asked whether it lives, and given
    up after twice as long again: on a slow line the question waits behind what is being sent. Raises InvalidRequest.
    """
    seconds = _seconds("keepalive_seconds", keepalive_seconds, least=_LEAST_KEEPALIVE_SECONDS)
    keepalive_ms = round(1000 * min(seconds, _LONGEST_KEEPALIVE_SECONDS))
    check_whole("max_answer_bytes", max_answer_bytes, least=1, bits=31)
    return [
        ("grpc.max_receive_message_length", max_answer_bytes or MAX_ANSWER_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.min_reconnect_backoff_ms", _CONNECT_MS),  # despite its name the deadline of an attempt
        ("grpc.dns_min_time_between_resolutions_ms", 1000),  # a server may come back under another number
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", 2 * keepalive_ms),
        ("grpc.http2.max_pings_without_data", 0),  # no limit: a job may wait for hours without news
        ("grpc.http2.ping_timeout_ms", 2 * keepalive_ms),  # a minute otherwise, in spite of the above
        ("grpc.http2.bdp_probe", 0),  # else there are pings amid data, whose answers slow lines delay
        ("grpc.enable_http_proxy", int(_wants_proxy(address))),
    ]


def timeout_of(seconds: float) -> float | None:
    """For gRPC, to which None is no limit; raises InvalidRequest."""
    seconds = _seconds("timeout_seconds", seconds, least=_LEAST_TIMEOUT_SECONDS)
    return seconds if seconds < _LONGEST_TIMEOUT_SECONDS else None


def hung_up(address: str) -> SmaltiError:
    """What is told of a call through a client that is closed."""
    return SmaltiError(f"This client of {address} is closed: make a new one.")


def _seconds(name: str, value: Any, *, least: float) -> float:
    is_number = hasattr(value, "__float__")  # which text has not
    if not is_number or not float(value) >= least:
        raise InvalidRequest(
            f"{name} is {value!r}; it must be a number of seconds, at least {least:g}.", field=name
        )
    return float(value)


def _wants_proxy(address: Address) -> bool:
    """http_proxy is meant for the web; grpc_proxy, which gRPC reads too, can mean nothing else than this."""
    return bool(os.environ.get("grpc_proxy")) and not address.is_loopback  # noqa: SIM112  # its name


class PaletteStore:
    """Palettes of models, by digest too: a version may be exported anew. Bounded, because a client may live long."""

    _CAPACITY = 64

    def __init__(self) -> None:
        self._palettes: dict[tuple[ModelVersion, str], Palette] = {}

    def get(self, model: ModelVersion) -> Palette | None:
        """The palette, if it was kept."""
        return self._palettes.get((model, model.digest))

    def keep(self, model: ModelVersion, palette: Palette) -> Palette:
        """Remember the palette in place of the oldest one."""
        while len(self._palettes) >= self._CAPACITY:
            self._palettes.pop(next(iter(self._palettes)), None)
        self._palettes[model, model.digest] = palette
        return palette
