"""Connects to Redis: retries for a few seconds, checks that Redis is fit, and turns its errors into smalti's."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from smalti.errors import RedisUnfit, Unavailable
from smalti.jobs.location import Followed, Moving, MovingTLS, locate
from smalti.runtime.redis_url import RedisAddress, read_redis_url

_ANSWER_SECONDS = 2.0  # with two retries about 7 s, less than a default lease
_RETRIES = 2
_CONNECTIONS = 32  # at most; further calls wait for one instead of failing
_OLDEST = (6, 2)
# A person must repair these, in Redis or in SMALTI_REDIS_URL. redis-py has classes for some of them only.
_REFUSALS = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
_REFUSING = re.compile(
    r"\b(?:NOAUTH|WRONGPASS|NOPERM|DENIED|AUTH)\b|The user executing the script|DB index|SELECT is not allowed"
)
NOT_OURS = "is not smalti's, though it has such a name: delete it, or set SMALTI_POOL to another name."
_WRONG_KIND = re.compile(r"\bWRONGTYPE\b")
_LACKING = re.compile(r"unknown command|\bNOPROTO\b")
# An error begins with a word. These words mean a mistake in smalti's command, so waiting does not help. All other words
# are about the state of Redis, which may pass; so are unknown ones of a later Redis or a proxy.
_OUR_MISTAKES = frozenset({"ERR", "CROSSSLOT", "NOSCRIPT", "EXECABORT", "BUSYGROUP", "BUSYKEY", "NOGROUP"})
_NOT_NOW = (
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.AskError,
)
_NOT_NOW_WORDS = re.compile(r"max number of clients|Script killed by user")
# How redis-py wraps the error of a command in a pipeline, and Redis 6.2 the error of a command in a script.
_PIPELINED = re.compile(r"Command # \d+ \(.*\) of pipeline caused error: \(['\"](.*)['\"],\)", re.DOTALL)
_IN_SCRIPT = re.compile(r": -([A-Z]{2,})\b")  # "Error running script …: @user_script:9: -OOM …"


class MemoryFull(Unavailable):
    """Redis has reached its memory limit."""


class Refused(Unavailable):
    """Redis answers, but a person must change it, or SMALTI_REDIS_URL, before smalti can use it."""


class _Unfit(exceptions.RedisError):
    """The Redis behind a new connection could lose jobs. A redis-py error, so that redis-py closes the connection."""


def connect(
    url: str,
    *,
    slot: int = 0,
    allow_volatile: bool = False,
    connections: int = _CONNECTIONS,
    waits_once: bool = False,
) -> Redis:
    """A client that tries again for a few seconds, then gives up; every script may safely be sent twice.

    Each new connection first asks where Redis is: Sentinels know its master, and nodes of a cluster know who holds the
    slot. Then it asks that Redis for INFO. So no command reaches a replica, or a Redis that was restarted with a
    configuration that could lose jobs, not even a command that redis-py sends again by itself.

    With `waits_once`, a call that got no answer in time is not sent again.
    """
    passing = (
        (exceptions.ConnectionError,) if waits_once else (exceptions.ConnectionError, exceptions.TimeoutError)
    )

    async def leave_the_old_one() -> None:
        await pool.disconnect(inuse_connections=False)

    pool = BlockingConnectionPool(
        **_moving(read_redis_url(url), slot, leave_the_old_one),
        max_connections=connections,
        timeout=_ANSWER_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        socket_connect_timeout=_ANSWER_SECONDS,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), _RETRIES, passing),
        redis_connect_func=_greeting(allow_volatile=allow_volatile),
    )
    return Redis.from_pool(pool)


def _moving(address: RedisAddress, slot: int, moved: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    """What redis-py must know to connect to this address; a socket of this machine never moves."""
    options: dict[str, Any] = {**parse_url(address.urls[0])}
    kind = options.get("connection_class", Connection)
    if kind is UnixDomainSocketConnection:
        return options
    options["connection_class"] = MovingTLS if kind is SSLConnection else Moving
    return options | {"location": Followed(locate(address, slot=slot), moved)}


def _greeting(*, allow_volatile: bool) -> Callable[[Any], Awaitable[None]]:
    """What each new connection does first. Connections are Any: redis-py has no common type for them."""

    async def greet(connection: Any) -> None:
        info = await _introduce(connection)
        try:
            refuse_if_unfit(info, allow_volatile=allow_volatile)
        except RedisUnfit as error:
            raise _Unfit(str(error)) from error
        except Unavailable as error:
            raise exceptions.BusyLoadingError(str(error)) from error

    return greet


async def _introduce(connection: Any) -> Mapping[str, str]:
    """Log in, and ask for INFO. A refusal is not smalti's mistake here: all that smalti sends comes from the URL."""
    try:
        await connection.on_connect()
        await connection.send_command("INFO", check_health=False)
        return _parse_info(await connection.read_response())
    except exceptions.ResponseError as error:
        if _meaning(error) is None:
            raise _Unfit(f"Redis refuses what SMALTI_REDIS_URL says ({_brief(str(error))}).") from error
        raise
    except (
        AttributeError,
        TypeError,
        ValueError,
    ) as error:  # redis-py or _parse_info got a reply of another type
        raise exceptions.InvalidResponse("it greets in another way") from error


def _parse_info(reply: bytes | str) -> Mapping[str, str]:
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


@contextmanager
def unavailable_when_away(key: str = "") -> Iterator[None]:
    """Turn redis-py's errors into Unavailable if Redis is away, loading, busy, full, a replica or unfit.

    If a person must repair it, the error is Refused, a kind of Unavailable. It names `key`, if that is not smalti's.
    Errors that are smalti's own mistakes stay as they are.
    """
    try:
        with _never_losing_a_cancel():
            yield
    except (exceptions.RedisError, OSError) as error:
        meaning = _meaning(error, key)
        if meaning is None:
            raise
        raise meaning from error


def _meaning(error: exceptions.RedisError | OSError, key: str = "") -> Unavailable | None:
    """The error for callers; None if it is smalti's own mistake."""
    text = _PIPELINED.sub(r"\1", str(error))
    if isinstance(error, _Unfit):
        return Refused(text)
    if isinstance(error, _REFUSALS) or _REFUSING.search(text):
        return Refused(f"Redis refuses the user, password or database in SMALTI_REDIS_URL ({text}).")
    if _LACKING.search(text):
        return Refused(f"This Redis lacks a command that smalti needs ({text}).")
    if is_of_wrong_kind(text):
        return Refused(f"{_called(key)} in this Redis {NOT_OURS}")
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError):
        return Unavailable(f"Redis does not answer ({text}).")
    if isinstance(error, exceptions.InvalidResponse):
        return Unavailable(f"The server at SMALTI_REDIS_URL is not a Redis ({text[:100]}).")
    return _meaning_of_a_reply(error, text) if isinstance(error, exceptions.ResponseError) else None


def _called(key: str) -> str:
    return f"The key '{key}'" if key else "A key"


def is_of_wrong_kind(reply: object) -> bool:
    """Whether Redis refused a command because somebody else put another type of value under the key."""
    return bool(_WRONG_KIND.search(str(reply)))


def _meaning_of_a_reply(error: exceptions.ResponseError, text: str) -> Unavailable | None:
    word = _first_word(error, text)
    if word == "OOM" or isinstance(error, exceptions.OutOfMemoryError):
        return MemoryFull("Redis has reached its memory limit.", retry_seconds=5.0)
    passes = isinstance(error, _NOT_NOW) or _NOT_NOW_WORDS.search(text)
    return (
        Unavailable(f"Redis cannot serve this now ({_brief(text)}).") if passes or _may_pass(word) else None
    )


def _first_word(error: exceptions.ResponseError, text: str) -> str:
    """The first word of an error; for a script, the first word of the failed command's error."""
    cut_off: str | None = getattr(error, "status_code", None)  # redis-py cuts off the words that it knows
    found = _IN_SCRIPT.search(text) or (not cut_off and re.match(r"([A-Z]{2,})\b", text))
    return found[1] if found else cut_off or ""


def _brief(text: str) -> str:
    """The error without the script's name and line, which do not help an operator."""
    found = _IN_SCRIPT.search(text)
    return text[found.start(1) :] if found else text


def _may_pass(word: str) -> bool:
    return bool(word) and word not in _OUR_MISTAKES


@contextmanager
def _never_losing_a_cancel() -> Iterator[None]:
    """Raise CancelledError at the end if the task was cancelled but redis-py went on.

    redis-py uses asyncio.wait_for. Before Python 3.12, wait_for returns the result if the task is cancelled just when
    the result arrives. The cancel is then lost, and a loop around the call would never end.
    """
    before = _cancels()
    try:
        yield
    except Exception:
        if _cancels() > before:
            raise asyncio.CancelledError from None
        raise
    if _cancels() > before:
        raise asyncio.CancelledError


def _cancels() -> int:
    """How often the running task was cancelled; 0 if no task runs."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    return task.cancelling() if task is not None else 0


def refuse_if_unfit(info: Mapping[str, Any], *, allow_volatile: bool) -> None:
    """Raise RedisUnfit if a Redis with this INFO is too old, or could lose acknowledged jobs.

    A Redis that is still reading its data, and a replica, cannot be judged now: that is Unavailable.
    """
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _OLDEST:
        raise RedisUnfit(f"Redis {version} is too old: smalti needs 6.2 or newer.")
    if int(info.get("loading", 0)):  # its append-only file is off until it has been read
        raise Unavailable("Redis is still reading its data.")
    if info.get("role", "master") != "master":
        raise Unavailable("This Redis is a replica.")
    faults = _volatile(info)
    if faults and not allow_volatile:
        raise RedisUnfit(
            f"This Redis could lose acknowledged jobs: {', '.join(faults)}; "
            "SMALTI_ALLOW_VOLATILE_REDIS=true accepts that."
        )


def _volatile(info: Mapping[str, Any]) -> list[str]:
    faults = []
    if not int(info.get("aof_enabled", 0)):
        faults.append("set appendonly to yes")
    if not int(info.get("maxmemory", 0)):
        faults.append("set maxmemory")
    if info.get("maxmemory_policy") != "noeviction":
        faults.append("set maxmemory-policy to noeviction")
    return faults
