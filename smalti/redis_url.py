"""Checks the address of a Redis before anybody tries it; says what is wrong with it and never what is in it."""

import re
from typing import NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from smalti.errors import SettingsInvalid

_EXAMPLE = (
    "such as redis://localhost:6379/0, rediss://user:password@host:6380/0 or unix:///run/redis.sock?db=0"
)
_OPTIONS = frozenset(
    {"db", "username", "password", "protocol", "client_name"}
)  # and those that begin with ssl_
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def check_redis_url(url: str) -> str:
    """The URL, if redis-py can use all of it; raises SettingsInvalid, whose sentence has no part of a password."""
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        _refuse("has a space or a line break in it")
    if _BAD_ESCAPE.search(url) or _escapes_no_text(url):
        _refuse(
            "has a % that does not begin two hexadecimal digits of UTF-8; a % of a password is written %25"
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        _refuse("has a host in [ ] that is no IPv6 address")
    if parts.scheme == "unix":
        _check_socket(parts)
    elif parts.scheme in ("redis", "rediss"):
        _check_host(parts)
    else:
        _refuse("does not begin with redis://, rediss:// or unix://")
    _check_options(parts)
    _check_with_the_client(url)
    return url


def _check_host(parts: SplitResult) -> None:
    if parts.fragment or not parts.netloc:
        _refuse("names no host, or has a # that ends it; in a password # is written %23, / %2F and ? %3F")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        _refuse("has a port that is no number from 1 to 65535; in a password / is written %2F and : %3A")
    if not parts.hostname:
        _refuse("names no host")
    if not re.fullmatch(r"/?|/[0-9]{1,9}", parts.path):
        _refuse("has after the host something else than / and the number of a database")


def _check_socket(parts: SplitResult) -> None:
    if parts.hostname or parts.fragment or not parts.path.strip("/"):
        _refuse(
            "names no socket: after unix:// comes a path that begins with /, and ?db=1 for another database"
        )


def _check_options(parts: SplitResult) -> None:
    try:
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        _refuse("has after the ? something else than options written name=value and joined by &")
    if any(name not in _OPTIONS and not name.startswith("ssl_") for name, _ in options):
        _refuse(f"has an option other than {', '.join(sorted(_OPTIONS))} and those that begin with ssl_")
    if any(name == "db" and not re.fullmatch(r"[0-9]{1,9}", value) for name, value in options):
        _refuse("has a database that is no number")


def _check_with_the_client(url: str) -> None:
    """Have redis-py read all values, the TLS ones among them; it connects to nothing yet."""
    try:
        ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]  # redis-py has no type here
    except (ValueError, TypeError, RedisError):
        _refuse("has an option that redis-py does not know, or one with a value that it cannot use")


def _escapes_no_text(url: str) -> bool:
    try:
        unquote(url, errors="strict")
    except UnicodeDecodeError:
        return True
    return False


def _refuse(what: str) -> NoReturn:
    raise SettingsInvalid(f"SMALTI_REDIS_URL {what}: write it as an address {_EXAMPLE}.")
