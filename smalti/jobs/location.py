"""Finds the Redis that holds the queue now: after a failover, or when a cluster moved a slot, it is another."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from smalti.runtime.redis_url import RedisAddress, RedisKind

_ASK_SECONDS = 1.0  # one Sentinel, or one node of a cluster; then the next is asked
# Redis 6.2 says so within the error of a script.
_NOT_HERE = re.compile(r"^MOVED\b|^UNBLOCKED\b|^READONLY\b|: -(?:READONLY|MOVED)\b")
Place = tuple[str, int]  # host and port


class Location(Protocol):
    """Where Redis is. redis-py's connections ask it each time that they connect."""

    async def find(self) -> Place:
        """The address to connect to now; raises redis-py's errors."""
        ...


class Fixed:
    """One address; its name may mean another machine after a failover."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def find(self) -> Place:
        """The same address each time."""
        return self._place


class AmongSentinels:
    """The master of this name, as the first Sentinel that answers says."""

    def __init__(self, sentinels: Sequence[dict[str, Any]], master: str) -> None:
        self._sentinels = list(sentinels)
        self._master = master

    async def find(self) -> Place:
        """The master's address. It may be down still: Sentinels need a while to agree on another."""
        return await _first_answer(self._sentinels, self._ask, "Sentinel")

    async def _ask(self, sentinel: Any, _: Place) -> Place:
        found: Any = await sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self._master)
        if not found:
            raise exceptions.ConnectionError(f"the Sentinels know no master '{self._master}'")
        host, port = found
        return _text(host), int(port)


class InCluster:
    """The node of a cluster that holds a slot, as the first node that answers says."""

    def __init__(self, nodes: Sequence[dict[str, Any]], slot: int) -> None:
        self._nodes = list(nodes)
        self._slot = slot

    async def find(self) -> Place:
        """The address of the slot's master."""
        return await _first_answer(self._nodes, self._ask, "node of the cluster")

    async def _ask(self, node: Any, asked: Place) -> Place:
        for first, last, master, *_ in await node.execute_command("CLUSTER SLOTS"):
            if first <= self._slot <= last:
                return _text(master[0]) or asked[0], int(master[1])  # a node may not know its own address
        raise exceptions.ConnectionError(f"no node of the cluster holds slot {self._slot}")


class Followed:
    """Another location, that says when Redis has moved."""

    def __init__(self, location: Location, moved: Callable[[], Awaitable[None]]) -> None:
        self._location = location
        self._moved = moved
        self._last: Place | None = None

    async def find(self) -> Place:
        """The address to connect to now."""
        place = await self._location.find()
        if self._last not in (None, place):
            await self._moved()
        self._last = place
        return place


async def _first_answer(
    servers: list[dict[str, Any]], ask: Callable[[Any, Place], Awaitable[Place]], kind: str
) -> Place:
    """The answer of the first server that has one; it is asked first the next time."""
    reasons = []
    for server in list(servers):
        place = server["host"], server["port"]
        try:
            async with Redis(**server) as client:
                answer = await ask(client, place)
        except exceptions.AuthenticationError:
            raise
        except (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterDownError) as error:
            reasons.append(str(error))
            continue
        servers.remove(server)
        servers.insert(0, server)
        return answer
    raise exceptions.ConnectionError(f"no {kind} says where it is: {'; '.join(reasons)}")


def locate(address: RedisAddress, *, slot: int) -> Location:
    """Where the Redis of this address is that holds the slot; only a cluster has several of them."""
    options: list[dict[str, Any]] = [{**parse_url(url)} for url in address.urls]
    if address.kind is RedisKind.SENTINEL:
        own = {"username": address.sentinel_username, "password": address.sentinel_password, "db": 0}
        return AmongSentinels([_for_questions(each | own) for each in options], address.master)
    if address.kind is RedisKind.CLUSTER:
        return InCluster([_for_questions(each) for each in options], slot)
    return Fixed(_place(options[0]))


def _place(options: dict[str, Any]) -> Place:
    return options.get("host", "localhost"), options.get("port", 6379)


def _for_questions(options: dict[str, Any]) -> dict[str, Any]:
    """What redis-py is told to ask a Sentinel or a node one question."""
    host, port = _place(options)
    kept = {name: value for name, value in options.items() if value != "" and name != "connection_class"}
    return kept | {
        "host": host,
        "port": port,
        "ssl": options.get("connection_class") is SSLConnection,
        "socket_timeout": _ASK_SECONDS,
        "socket_connect_timeout": _ASK_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }


class Moving(Connection):
    """A connection that goes where Redis is now, and leaves a Redis that says that it is elsewhere."""

    def __init__(self, *, location: Location, **options: Any) -> None:
        super().__init__(**options)
        self._location = location

    async def connect_check_health(self, *options: Any, **named: Any) -> None:
        """Find Redis, then connect."""
        if not self.is_connected:
            self.host, self.port = await self._location.find()
        await super().connect_check_health(*options, **named)

    async def read_response(self, *options: Any, **named: Any) -> Any:
        """The response. A replica that was the master, and a node that lost the slot, count as a lost connection.

        They refused the command, so redis-py may send it again, to the right one.
        """
        try:
            return await super().read_response(*options, **named)
        except exceptions.ResponseError as error:
            if not _is_elsewhere(error):
                raise
            await self.disconnect(nowait=True)
            raise exceptions.ConnectionError(f"it has moved: {error}") from error


class MovingTLS(Moving, SSLConnection):
    """The same over TLS."""


def _is_elsewhere(error: exceptions.ResponseError) -> bool:
    return isinstance(error, exceptions.ReadOnlyError | exceptions.MovedError) or bool(
        _NOT_HERE.search(str(error))
    )


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
