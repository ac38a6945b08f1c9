"""Sends one POST: no redirects, no proxy, nothing of the answer but its status."""

import asyncio
import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache

from server.webhooks.addresses import Networks, Unreachable
from server.webhooks.targets import Url

_LONGEST_LINE = 4096  # bytes of the answer that are read at most
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})( [^\r\n]*)?\r?\n")


async def post(
    url: Url, networks: Networks, headers: Mapping[str, str], body: bytes, *, timeout_seconds: float
) -> int:
    """The status of the answer; raises Unreachable if there is none in time.

    The connection goes to an address that was checked, not to a name that could change meanwhile.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await _connect(url, await networks.resolve(url))
            return await _exchange(reader, writer, _request(url, headers, body))
    except TimeoutError as error:
        raise Unreachable(f"it did not answer within {timeout_seconds:g} s") from error
    except ssl.SSLError as error:
        raise Unreachable(f"TLS failed: {error.reason}") from error
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise Unreachable(f"the connection failed: {type(error).__name__}") from error


async def _connect(url: Url, addresses: Sequence[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first of these addresses that takes one."""
    is_tls = url.scheme == "https"
    for address in addresses[:-1]:
        with suppress(OSError):
            return await _open(url, address, is_tls=is_tls)
    return await _open(url, addresses[-1], is_tls=is_tls)


async def _open(url: Url, address: str, *, is_tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        address,
        url.port,
        ssl=_trust() if is_tls else None,
        server_hostname=url.host.strip("[]") if is_tls else None,
        limit=_LONGEST_LINE,
    )


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    try:
        writer.write(request)
        await writer.drain()
        status = _STATUS.fullmatch(await reader.readuntil(b"\n"))
    finally:
        writer.transport.abort()
    if status is None:
        raise Unreachable("its answer is not HTTP")
    return int(status[1])


def _request(url: Url, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [
        f"POST {url.path} HTTP/1.1",
        f"host: {url.authority}",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"content-length: {len(body)}",
        "connection: close",
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


@cache
def _trust() -> ssl.SSLContext:
    """The authorities of this machine, or those that SSL_CERT_FILE names."""
    return ssl.create_default_context()
