"""How smalti reaches Redis: short bounded retries, its errors turned into smalti's, its fitness checked."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from smalti.errors import RedisUnfit, Unavailable

_ANSWER_SECONDS = 2.0  # with two retries about 7 s, less than a default lease
_RETRIES = 2
_CONNECTIONS = 32  # of one process; further calls wait for one instead of failing
_OLDEST = (6, 2)
_REFUSALS = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)
_NOT_NOW = (
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
)
# redis-py has no classes for the first three; Redis 6.2 wraps what a script meets: "Error running script …: -OOM …".
_NOT_NOW_WORDS = re.compile(r"(?:^|-)(?:BUSY|MISCONF|NOREPLICAS|READONLY|MASTERDOWN)\b")
_NO_MEMORY = re.compile(r"-OOM\b")


class MemoryFull(Unavailable):
    """Redis has reached its memory limit."""


def connect(url: str) -> Redis:
    """A client that gives up on a Redis that is away after a few seconds; every script may safely be sent twice."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_ANSWER_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        socket_connect_timeout=_ANSWER_SECONDS,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), _RETRIES),
    )
    return Redis.from_pool(pool)


@contextmanager
def unavailable_when_away() -> Iterator[None]:
    """Turn what redis-py raises when Redis is away, loading, busy or full into Unavailable.

    A user or password that Redis refuses does not pass by itself: that is RedisUnfit.
    """
    try:
        with _never_losing_a_cancel():
            yield
    except _REFUSALS as error:
        raise RedisUnfit(f"Redis refuses the user or password in SMALTI_REDIS_URL ({error}).") from error
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        raise Unavailable(f"Redis does not answer ({error}).") from error
    except exceptions.ResponseError as error:
        if isinstance(error, exceptions.OutOfMemoryError) or _NO_MEMORY.search(str(error)):
            raise MemoryFull("Redis has reached its memory limit.", retry_seconds=5.0) from error
        if isinstance(error, _NOT_NOW) or _NOT_NOW_WORDS.search(str(error)):
            raise Unavailable(f"Redis cannot serve this now ({error}).") from error
        raise


@contextmanager
def _never_losing_a_cancel() -> Iterator[None]:
    """Raise CancelledError at the end if the task was cancelled meanwhile and redis-py went on all the same.

    It sends by asyncio.wait_for, which before Python 3.12 gives its result to a task that is cancelled in the moment
    when the result is there; a loop around the call would then never end.
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
    """How often the running task was cancelled; 0 where there is none."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return 0
    return task.cancelling() if task is not None else 0


def refuse_if_unfit(info: Mapping[str, Any], *, allow_volatile: bool) -> None:
    """Raise RedisUnfit if a Redis with this INFO is too old, or could lose acknowledged jobs.

    One that has just been started and reads its data says too little to judge: that is Unavailable.
    """
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise RedisUnfit(f"Redis {version} is too old: smalti needs 6.2 or newer.")
    if int(info.get("loading", 0)):  # its append-only file is off until it has been read
        raise Unavailable("Redis is still reading its data.")
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
