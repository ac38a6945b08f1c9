"""Decides which URLs a client may name for webhooks, so that nobody reaches inner addresses through the server."""

import re
from dataclasses import dataclass

from smalti.errors import InvalidRequest, SettingsInvalid, Unsupported
from smalti.printable import printable

LONGEST_URL = 512
_PORTS = {"http": 80, "https": 443}
# Nothing that readers of URLs understand in different ways: no user, no backslash, no fragment, no letter beyond ASCII.
_URL = re.compile(
    r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of a URL."""

    scheme: str
    host: str  # an address of IPv6 has its brackets
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """Host and port, as the header Host says them."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"


def parse(text: str) -> Url | None:
    """The parts of a URL; None if it is not one that webhooks may have."""
    found = _URL.fullmatch(text) if len(text) <= LONGEST_URL else None
    if found is None:
        return None
    scheme, host, port, path = found.groups()
    number = int(port) if port else _PORTS[scheme]
    return Url(scheme, host, number, path or "/") if 0 < number < 65536 else None


class Targets:
    """The origins that the operator allows, such as https://hooks.example.org or https://*.example.org:8443.

    Raises SettingsInvalid for what is no origin.
    """

    def __init__(self, allowed: str) -> None:
        self._exact: set[tuple[str, str, int]] = set()
        self._below: list[tuple[str, str, int]] = []
        for origin in filter(None, allowed.split(",")):
            self._add(origin)

    def __bool__(self) -> bool:
        return bool(self._exact or self._below)

    def allow(self, url: Url) -> bool:
        """Whether a webhook may go there. A star stands for one or more names before the domain."""
        if (url.scheme, url.host, url.port) in self._exact:
            return True
        return any(
            (url.scheme, url.port) == (scheme, port)
            and url.host.endswith(domain)
            and len(url.host) > len(domain)
            for scheme, domain, port in self._below
        )

    def check(self, text: str) -> str:
        """The URL of a new job's webhook, or ''; raises Unsupported or InvalidRequest."""
        if not text:
            return ""
        if not self:
            raise Unsupported("This server sends no webhooks (SMALTI_WEBHOOK_TARGETS): use Watch.")
        url = parse(text)
        if url is None:
            raise InvalidRequest(
                f"'{printable(text)}' is no URL for a webhook: it has http:// or https://, a host in lower case, "
                f"if needed a port, and a path, in at most {LONGEST_URL} characters.",
                field="webhook",
            )
        if not self.allow(url):
            raise InvalidRequest(
                f"The server's operator does not allow webhooks to {url.scheme}://{url.authority} "
                "(SMALTI_WEBHOOK_TARGETS).",
                field="webhook",
            )
        return text

    def _add(self, origin: str) -> None:
        url = parse(origin.replace("://*.", "://"))
        if url is None:
            raise SettingsInvalid(f"SMALTI_WEBHOOK_TARGETS: '{printable(origin)}' is no origin.")
        if "://*." in origin:
            self._below.append((url.scheme, f".{url.host}", url.port))
        else:
            self._exact.add((url.scheme, url.host, url.port))


NO_TARGETS = Targets("")
