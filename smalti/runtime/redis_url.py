"""Reads the URL of Redis and checks it before it is used. Messages say what is wrong and never quote the URL."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio import ConnectionPool, SSLConnection
from redis.exceptions import RedisError

from smalti.errors import SettingsInvalid

_EXAMPLE = (
    "such as redis://localhost:6379/0, rediss://user:password@host:6380/0, unix:///run/redis.sock?db=0, "
    "redis+sentinel://host:26379,host:26380/master/0 or redis+cluster://host:7000,host:7001"
)
_OPTIONS = frozenset(
    {"db", "username", "password", "protocol", "client_name"}
)  # options that begin with ssl_ are allowed, too
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_OF_SENTINELS = ("sentinel_username", "sentinel_password")  # options for the Sentinels alone
_SENTINEL_PORT = 26379


class RedisKind(StrEnum):
    """How the Redis that holds the queue is found."""

    SINGLE = "single"  # at its address
    SENTINEL = "sentinel"  # Sentinels say which Redis is the master
    CLUSTER = "cluster"  # its nodes say who holds the queue's slot


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where Redis is, from SMALTI_REDIS_URL."""

    kind: RedisKind
    urls: tuple[
        str, ...
    ]  # plain ones: of the Redis; or of Redis with the hosts of the Sentinels; or of some nodes
    master: str = ""  # its name among the Sentinels
    sentinel_username: str = ""
    sentinel_password: str = ""


def check_redis_url(url: str) -> str:
    """The URL, if redis-py can use all of it; raises SettingsInvalid, with no part of a password in the message."""
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        _refuse("has a space or a line break in it")
    if _BAD_ESCAPE.search(url) or _escapes_no_text(url):
        _refuse(
            "has a % that does not begin two hexadecimal digits of UTF-8; a % of a password is written %25"
        )
    for plain in read_redis_url(url).urls:
        _check_plain(plain)
    return url


def read_redis_url(url: str) -> RedisAddress:
    """The address in a URL; raises SettingsInvalid. The hosts and options in it are not checked."""
    scheme, _, rest = url.partition("://")
    plain, _, kind = scheme.partition("+")
    if not kind:
        return RedisAddress(kind=RedisKind.SINGLE, urls=(url,))
    if plain not in ("redis", "rediss") or kind not in (RedisKind.SENTINEL, RedisKind.CLUSTER):
        _refuse("does not begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")
    place, _, query = rest.partition("?")
    hosts, _, path = place.partition("/")
    user, at, hosts = hosts.rpartition("@")
    if kind == RedisKind.CLUSTER:
        if path not in ("", "0"):
            _refuse("names a database, but a cluster has only the database 0")
        urls = [f"{plain}://{user}{at}{host}?{query}" for host in hosts.split(",")]
        return RedisAddress(kind=RedisKind.CLUSTER, urls=tuple(urls))
    return _among_sentinels(plain, user + at, hosts, path, query)


def _among_sentinels(scheme: str, user: str, hosts: str, path: str, query: str) -> RedisAddress:
    master, _, database = path.partition("/")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", master):
        _refuse("does not name the master after the Sentinels, in letters, digits and the signs . _ -")
    pairs = parse_qsl(query, keep_blank_values=True)
    own = [pair for pair in pairs if pair[0] in _OF_SENTINELS]
    if len(dict(own)) < len(own):
        _refuse("has one option twice")
    query = urlencode([pair for pair in pairs if pair[0] not in _OF_SENTINELS])
    urls = [f"{scheme}://{user}{_with_port(host)}/{database}?{query}" for host in hosts.split(",")]
    return RedisAddress(kind=RedisKind.SENTINEL, urls=tuple(urls), master=master, **dict(own))


def _with_port(host: str) -> str:
    return host if re.search(r":[^\]]*$", host) else f"{host}:{_SENTINEL_PORT}"


def _check_plain(url: str) -> None:
    """Raise SettingsInvalid if redis-py cannot use all of this URL of one Redis."""
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
