"""Checks the URL of a Redis before it is used. Messages say what is wrong and never quote the URL."""

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import ConnectionPool, SSLConnection
from redis.exceptions import RedisError

from smalti.errors import SettingsInvalid

_EXAMPLE = (
    "such as redis://localhost:6379/0, rediss://user:password@host:6380/0 or unix:///run/redis.sock?db=0"
)
_OPTIONS = frozenset(
    {"db", "username", "password", "protocol", "client_name"}
)  # options that begin with ssl_ are allowed, too
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def check_redis_url(url: str) -> str:
    """The URL, if redis-py can use all of it; raises SettingsInvalid, with no part of a password in the message."""
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        _refuse("has a space or a line break in it")
    if _BAD_ESCAPE.search(url) or _escapes_no_text(url):
        _refuse(
            "has a % that does not begin two hexadecimal digits of UTF-8; a % of a password is written %25"
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        _refuse("has a host in [ ] that is not an IPv6 address")
    if parts.scheme == "unix":
        _check_socket(parts)
    elif parts.scheme in ("redis", "rediss"):
        _check_host(parts)
    else:
        _refuse("does not begin with redis://, rediss:// or unix://")
    options = _options(parts)
    _check_options(options)
    _refuse_contradictions(parts, options)
    _check_files(options)
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
        _refuse("has a port that is not a number from 1 to 65535; in a password / is written %2F and : %3A")
    if not parts.hostname:
        _refuse("names no host")
    if not _can_be_a_host(unquote(parts.hostname)):
        _refuse("has a host name that no machine can have")
    if not re.fullmatch(r"/?|/[0-9]{1,9}", parts.path):
        _refuse("has something other than / and a database number after the host")


def _can_be_a_host(host: str) -> bool:
    """Whether a host of this name could exist."""
    if ":" in host:  # an IPv6 address, which urlsplit has read
        return True
    try:
        name = host.encode("idna").decode()
        if re.search(r"(^|\.)[0-9]+\.?$", name):  # no host name ends in a number
            socket.inet_aton(name)
    except (UnicodeError, OSError):
        return False
    return re.fullmatch(r"[A-Za-z0-9_.-]{1,254}", name) is not None


def _check_socket(parts: SplitResult) -> None:
    if "\0" in unquote(parts.path):
        _refuse("names a socket with a byte that no path can have")
    if parts.hostname or parts.fragment or not parts.path.strip("/"):
        _refuse(
            "names no socket: after unix:// comes a path that begins with /, and ?db=1 for another database"
        )


def _options(parts: SplitResult) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        _refuse("has something other than options after the ?, written name=value and joined by &")
    options = dict(pairs)
    if any(name not in _OPTIONS and not name.startswith("ssl_") for name in options):
        _refuse(f"has an option other than {', '.join(sorted(_OPTIONS))} and those that begin with ssl_")
    if len(options) < len(pairs):
        _refuse("has one option twice")
    return options


def _check_options(options: Mapping[str, str]) -> None:
    if not re.fullmatch(r"[0-9]{1,9}", options.get("db", "0")):
        _refuse("has a database that is not a number")
    if not re.fullmatch(r"[!-~]+", options.get("client_name", "smalti")):
        _refuse(
            "has a client_name with characters other than ASCII letters, digits and signs; spaces are not allowed"
        )


def _refuse_contradictions(parts: SplitResult, options: Mapping[str, str]) -> None:
    """Refuse values that are given twice: redis-py would silently use one of them."""
    said = {"username": parts.username, "password": parts.password}
    said["db"] = "" if parts.scheme == "unix" else parts.path.strip("/")
    for name, value in said.items():
        if value and name in options:
            _refuse(f"gives the {name} twice, before and after the ?")


def _check_files(options: Mapping[str, str]) -> None:
    """Refuse missing files now: later they would look as if Redis were away, and be waited for."""
    for name in _TLS_FILES:
        try:
            if name in options:
                Path(options[name]).open("rb").close()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no path can be so"
            raise SettingsInvalid(
                f"SMALTI_REDIS_URL names a file by {name} that cannot be read: {reason}."
            ) from error
    if not Path(options.get("ssl_ca_path", "/")).is_dir():
        raise SettingsInvalid("SMALTI_REDIS_URL has an ssl_ca_path that is not a folder.")


def _check_with_the_client(url: str) -> None:
    """Let redis-py read all values, TLS included. It does not connect yet."""
    try:
        connection = ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]  # redis-py has no type here
        if isinstance(connection, SSLConnection):
            connection.ssl_context.get()  # reads the files
    except OSError as error:  # ssl.SSLError, too
        what = getattr(error, "reason", None) or error.strerror or " ".join(map(str, error.args)).rstrip(".")
        raise SettingsInvalid(
            f"SMALTI_REDIS_URL has options of TLS (ssl_…) that cannot be used: {what}."
        ) from error
    except (ValueError, TypeError, RedisError):
        _refuse("has an option that redis-py does not know, or a value that it cannot use")


def _escapes_no_text(url: str) -> bool:
    try:
        unquote(url, errors="strict")
    except UnicodeDecodeError:
        return True
    return False


def _refuse(what: str) -> NoReturn:
    raise SettingsInvalid(f"SMALTI_REDIS_URL {what}: write it as an address {_EXAMPLE}.")
