"""Passes commands between the processes of a server, in one order, and keeps the state that they agreed on."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from socket import socket
from typing import Any

from server.peer import Peer, PeerGone
from smalti.errors import SmaltiError, Unavailable

_GATHER_SECONDS = 2.0  # a process that is silent for so long is left out
_LOOK_SECONDS = 5.0  # between two looks whether a process still answers
_TELL_SECONDS = 300.0  # loading a large model takes a while


@dataclass(frozen=True, slots=True)
class _Failed:
    error: SmaltiError


class Hub:
    """The processes are known by their numbers; `connect` adds one."""

    def __init__(self, numbers: Collection[int]) -> None:
        self._peers: dict[int, Peer] = {}
        self._joined: set[int] = set()  # they get every command that changes something
        self._serving: set[int] = set()
        self._starting = set(numbers)  # they have neither loaded nor ended since the server started
        self._all_started = asyncio.Event()
        self._order = asyncio.Lock()
        self._telling: set[asyncio.Task[list[Any]]] = set()
        self._state: dict[str, Any] = {}
        self.reasons: dict[int, str] = {}  # of processes that gave up, until they are connected again

    @property
    def serving(self) -> frozenset[int]:
        """The processes that have loaded their models, and listen or soon will."""
        return frozenset(self._serving)

    async def wait_until_hung(self, number: int, *, seconds: float) -> None:
        """Return when a process has not answered for so long; never if it is gone."""
        hung = Unavailable("The process did not answer.")
        answers: list[Any] = []
        while not any(isinstance(each, _Failed) for each in answers):
            await asyncio.sleep(_LOOK_SECONDS)
            peers = [number] if number in self._peers else []
            answers = await self._ask(peers, "ping", None, seconds, hung)

    async def wait_until_started(self) -> None:
        """Return when each process has loaded its models, or has ended, for the first time."""
        await self._all_started.wait()

    async def connect(self, number: int, connected: socket) -> None:
        """Talk with a process until it closes its end of the socket."""
        self.reasons.pop(number, None)
        peer = await Peer.over(connected, partial(self._answer, number))
        self._peers[number] = peer
        try:
            await peer.run()
        finally:
            self._forget(number)

    def _forget(self, number: int) -> None:
        del self._peers[number]
        self._joined.discard(number)
        self._serving.discard(number)
        self._has_started(number)

    def _has_started(self, number: int) -> None:
        self._starting.discard(number)
        if not self._starting:
            self._all_started.set()

    async def _answer(self, number: int, command: str, argument: Any) -> Any:
        match command:
            case "join":
                return await self._join(number)
            case "loaded":
                return await self._loaded(number)
            case "gives_up":
                self.reasons[number] = argument
            case "tell_all":
                return await self._tell_all(number, *argument)
            case "gather":
                return await self._gather(number, *argument)
        return None

    async def _join(self, number: int) -> dict[str, Any]:
        async with self._order:  # so a command comes either before the state or after it
            self._joined.add(number)
            return self._state

    async def _loaded(self, number: int) -> None:
        self._serving.add(number)
        self._has_started(number)
        await self._all_started.wait()

    async def _tell_all(self, asker: int, command: str, argument: Any) -> list[Any]:
        """Tell all, and go on if the asker ends: the others must not stop halfway."""
        telling = asyncio.create_task(self._tell_in_order(asker, command, argument))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        return await asyncio.shield(telling)

    async def _tell_in_order(self, asker: int, command: str, argument: Any) -> list[Any]:
        async with self._order:
            try:
                return await self._tell(asker, command, argument)
            finally:
                await self._learn_state(asker)

    async def _learn_state(self, asker: int) -> None:
        late = Unavailable("The process did not answer.")
        for number in _own_first(asker, self._joined):
            [state] = await self._ask([number], "snapshot", None, _GATHER_SECONDS, late) or [_Failed(late)]
            if not isinstance(state, _Failed):
                self._state = state
                return

    async def _tell(self, asker: int, command: str, argument: Any) -> list[Any]:
        late = Unavailable(f"A process of the server did not answer in {_TELL_SECONDS:.0f} s: ask again.")
        answers = await self._ask(_own_first(asker, self._joined), command, argument, _TELL_SECONDS, late)
        for answer in answers:
            if isinstance(answer, _Failed):
                raise answer.error
        return answers

    async def _gather(self, asker: int, command: str, argument: Any) -> list[Any]:
        late = Unavailable("The process did not answer.")
        answers = await self._ask(_own_first(asker, self._serving), command, argument, _GATHER_SECONDS, late)
        if answers and isinstance(answers[0], _Failed) and answers[0].error is not late:
            raise answers[0].error
        return [answer for answer in answers if not isinstance(answer, _Failed)]

    async def _ask(
        self, numbers: Sequence[int], command: str, argument: Any, seconds: float, late: SmaltiError
    ) -> list[Any]:
        """What they answer, or how they fail; without those that end meanwhile."""

        async def ask(peer: Peer) -> Any:
            try:
                async with asyncio.timeout(seconds):
                    return await peer.ask(command, argument)
            except TimeoutError:
                return _Failed(late)
            except SmaltiError as error:
                return _Failed(error)

        answers = await asyncio.gather(*(ask(self._peers[number]) for number in numbers))
        return [
            each for each in answers if not (isinstance(each, _Failed) and isinstance(each.error, PeerGone))
        ]


def _own_first(own: int, numbers: Collection[int]) -> list[int]:
    return sorted(numbers, key=_is_other(own))


def _is_other(own: int) -> Callable[[int], tuple[bool, int]]:
    return lambda number: (number != own, number)
