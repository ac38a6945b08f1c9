"""How a service reaches all processes of the server: `tell_all` changes something in each, `gather` asks each."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from server.peer import Peer

Handler = Callable[[Any], Awaitable[Any]]  # from an argument to an answer, both JSON


class Siblings(Protocol):
    """All processes of the server, this one included. Commands, arguments and answers are JSON."""

    def answer(self, command: str, handler: Handler) -> None:
        """Set what this process does for a command. Every process sets the same ones, before it serves."""

    def keep(
        self, name: str, *, snapshot: Callable[[], Any], restore: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Set state that commands change, so that a process which starts later learns it before it loads models."""

    async def tell_all(self, command: str, argument: Any) -> list[Any]:
        """Run a command in every process; the answers, this process's first.

        One command runs at a time, so every process sees the same order. If processes fail, this raises the error of
        one of them, of this one if it failed; the others may have done what the command says.
        """

    async def gather(self, command: str, argument: Any) -> list[Any]:
        """Ask every process that serves; the answers, this process's first. A process that is silent is left out."""

    async def join(self) -> None:
        """Learn the state of the others."""

    async def loaded(self) -> None:
        """Say that this process has loaded its models; returns when it should listen."""


class Alone:
    """The only process of its server: a command is a call."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def answer(self, command: str, handler: Handler) -> None:
        """Set what a command does."""
        self._handlers[command] = handler

    def keep(
        self, name: str, *, snapshot: Callable[[], Any], restore: Callable[[Any], Awaitable[None]]
    ) -> None:
        """No other process will ever ask for it."""

    async def tell_all(self, command: str, argument: Any) -> list[Any]:
        """Run a command."""
        return [await self._handlers[command](argument)]

    async def gather(self, command: str, argument: Any) -> list[Any]:
        """Run a command."""
        return [await self._handlers[command](argument)]

    async def join(self) -> None:
        """There is nobody to learn from."""

    async def loaded(self) -> None:
        """There is nobody to wait for."""


@dataclass(frozen=True, slots=True)
class _Kept:
    snapshot: Callable[[], Any]
    restore: Callable[[Any], Awaitable[None]]


class Sibling:
    """One of several processes. The hub in the supervisor passes commands on; `connect` gives the line to it."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {"snapshot": self._snapshot, "ping": self._ping}
        self._kept: dict[str, _Kept] = {}
        self._has_loaded = asyncio.Event()
        self._hub: Peer

    def connect(self, hub: Peer) -> None:
        """Use this line to the hub."""
        self._hub = hub

    def answer(self, command: str, handler: Handler) -> None:
        """Set what this process does for a command."""

        async def once_loaded(argument: Any) -> Any:
            await self._has_loaded.wait()
            return await handler(argument)

        self._handlers[command] = once_loaded

    def keep(
        self, name: str, *, snapshot: Callable[[], Any], restore: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Set state that a process which starts later must learn."""
        self._kept[name] = _Kept(snapshot, restore)

    async def tell_all(self, command: str, argument: Any) -> list[Any]:
        """Run a command in every process."""
        return list(await self._hub.ask("tell_all", [command, argument]))

    async def gather(self, command: str, argument: Any) -> list[Any]:
        """Ask every process that serves."""
        return list(await self._hub.ask("gather", [command, argument]))

    async def join(self) -> None:
        """Learn the state of the others: from now on, commands reach this process too, once it has loaded."""
        state = await self._hub.ask("join")
        for name, value in state.items():
            await self._kept[name].restore(value)

    async def loaded(self) -> None:
        """Say that this process has loaded its models; at the first start, returns when all have."""
        self._has_loaded.set()
        await self._hub.ask("loaded")

    async def run(self, command: str, argument: Any) -> Any:
        """Answer the hub."""
        return await self._handlers[command](argument)

    async def _ping(self, argument: Any) -> None:
        """The hub only wants an answer."""

    async def _snapshot(self, argument: Any) -> Any:
        return {name: kept.snapshot() for name, kept in self._kept.items()}
