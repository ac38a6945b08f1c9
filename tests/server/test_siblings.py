"""How commands reach all processes of a server: a real hub and real sockets, with all ends in this process."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from server import hub as hubs
from server import peer as peers
from server.hub import Hub
from server.peer import Peer
from server.siblings import Alone, Sibling
from smalti.errors import InternalError, InvalidRequest, ModelNotFound, Unavailable


class Register:
    """Stands for a service: every process keeps a set of words."""

    def __init__(self, siblings: Sibling | Alone) -> None:
        self.siblings = siblings
        self.words: list[str] = []
        self.refusal: Exception | None = None
        self.silence = asyncio.Event()
        self.silence.set()
        siblings.answer("words.add", self._add)
        siblings.answer("words.count", self._count)
        siblings.keep("words", snapshot=lambda: self.words, restore=self._restore)

    async def _add(self, word: str) -> str:
        await self.silence.wait()
        if self.refusal:
            raise self.refusal
        self.words.append(word)
        return word

    async def _count(self, _: None) -> int:
        await self.silence.wait()
        return len(self.words)

    async def _restore(self, words: list[str]) -> None:
        self.words = list(words)


@asynccontextmanager
async def connected(hub: Hub, number: int) -> AsyncIterator[Register]:
    """A process with this number, until the block ends."""
    own, other = socket.socketpair()
    sibling = Sibling()
    passing = asyncio.create_task(hub.connect(number, own))
    peer = await Peer.over(other, sibling.run)
    sibling.connect(peer)
    answering = asyncio.create_task(peer.run())
    try:
        register = Register(sibling)
        await sibling.join()
        yield register
    finally:
        answering.cancel()
        await asyncio.gather(answering, passing, return_exceptions=True)


@pytest.fixture
def hub() -> Hub:
    """A hub for processes 1 and 2."""
    return Hub([1, 2])


@pytest.fixture
async def two(hub: Hub) -> AsyncIterator[list[Register]]:
    """Two processes that serve."""
    async with connected(hub, 1) as first, connected(hub, 2) as second:
        await asyncio.gather(first.siblings.loaded(), second.siblings.loaded())
        yield [first, second]


async def test_one_process_calls_its_own_handler():
    alone = Register(Alone())
    assert await alone.siblings.tell_all("words.add", "red") == ["red"]
    assert await alone.siblings.gather("words.count", None) == [1]


async def test_a_command_reaches_every_process_and_its_own_answer_comes_first(two: list[Register]):
    first, second = two
    second.words.append("blue")
    assert await first.siblings.tell_all("words.add", "red") == ["red", "red"]
    assert await second.siblings.gather("words.count", None) == [2, 1]


async def test_all_processes_see_commands_in_one_order(two: list[Register]):
    first, second = two
    words = [f"{number}" for number in range(20)]
    await asyncio.gather(
        *(two[number % 2].siblings.tell_all("words.add", word) for number, word in enumerate(words))
    )
    assert first.words == second.words
    assert sorted(first.words, key=int) == words


@pytest.mark.parametrize("failing", [0, 1])
async def test_a_failure_keeps_its_class_and_its_details(two: list[Register], failing: int):
    two[failing].refusal = InvalidRequest("No such word.", field="word")
    with pytest.raises(InvalidRequest, match="No such word") as refused:
        await two[0].siblings.tell_all("words.add", "red")
    assert refused.value.field == "word"
    two[failing].refusal = Unavailable("Later.", retry_seconds=7.0)
    with pytest.raises(Unavailable) as later:
        await two[0].siblings.tell_all("words.add", "red")
    assert later.value.retry_seconds == 7.0


async def test_of_two_failures_the_own_one_is_raised(two: list[Register]):
    two[0].refusal, two[1].refusal = InvalidRequest("No."), ModelNotFound("None.")
    for register, kind in zip(two, (InvalidRequest, ModelNotFound), strict=True):
        with pytest.raises(kind):
            await register.siblings.tell_all("words.add", "red")


async def test_a_process_that_starts_later_learns_the_state_and_then_gets_commands(hub: Hub):
    async with connected(hub, 1) as first:
        async with connected(hub, 2) as second:
            await asyncio.gather(first.siblings.loaded(), second.siblings.loaded())
            await second.siblings.tell_all("words.add", "red")
        async with connected(hub, 2) as again:
            assert again.words == ["red"]
            telling = asyncio.create_task(first.siblings.tell_all("words.add", "blue"))
            await again.siblings.loaded()
            assert await telling == ["blue", "blue"]
            assert again.words == ["red", "blue"]


async def test_the_state_outlives_all_processes(hub: Hub):
    async with connected(hub, 1) as first, connected(hub, 2) as second:
        await asyncio.gather(first.siblings.loaded(), second.siblings.loaded())
        await first.siblings.tell_all("words.add", "red")
    async with connected(hub, 1) as again:
        assert again.words == ["red"]


async def test_a_process_that_ends_during_a_command_is_left_out(hub: Hub, until):
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(connected(hub, 1))
        async with connected(hub, 2) as second:
            await asyncio.gather(first.siblings.loaded(), second.siblings.loaded())
            second.silence.clear()
            telling = asyncio.create_task(first.siblings.tell_all("words.add", "red"))
            await until(lambda: first.words)
        assert await telling == ["red"]


async def test_a_silent_process_is_left_out_of_answers_and_fails_a_command(
    two: list[Register], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hubs, "_GATHER_SECONDS", 0.05)
    monkeypatch.setattr(hubs, "_TELL_SECONDS", 0.05)
    first, second = two
    second.silence.clear()
    assert await first.siblings.gather("words.count", None) == [0]
    with pytest.raises(Unavailable, match="did not answer"):
        await first.siblings.tell_all("words.add", "red")


async def test_a_command_goes_on_in_all_processes_when_its_client_has_gone(two: list[Register], until):
    first, second = two
    second.silence.clear()
    telling = asyncio.create_task(first.siblings.tell_all("words.add", "red"))
    await until(lambda: first.words)
    telling.cancel()
    second.silence.set()
    await until(lambda: second.words == ["red"])


async def test_no_process_listens_before_all_have_loaded_or_ended(hub: Hub, until):
    async with connected(hub, 1) as first:
        waiting = asyncio.create_task(first.siblings.loaded())
        async with connected(hub, 2):
            await until(lambda: hub.serving == {1})
            assert not waiting.done()
        await waiting


async def test_a_handler_that_breaks_is_a_bug_that_the_log_names(two: list[Register]):
    two[1].refusal = ZeroDivisionError("broken")
    with capture_logs() as logged, pytest.raises(InternalError, match="This is a bug in smalti"):
        await two[0].siblings.tell_all("words.add", "red")
    [line] = [line for line in logged if line["event"] == "bug in smalti, please report it"]
    assert (line["command"], line["exc_info"]) == ("words.add", two[1].refusal)


async def test_what_is_too_long_for_the_line_is_refused_and_ends_nothing(
    two: list[Register], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(peers, "_LONGEST_LINE", 1000)
    with pytest.raises(InvalidRequest, match="too long"):
        await two[0].siblings.tell_all("words.add", "\1" * 200)  # six characters each in JSON
    assert await two[0].siblings.tell_all("words.add", "red") == ["red", "red"]


@pytest.mark.parametrize("line", [b"no JSON\n", b"\xff\n", b" " * 70_000_000])
async def test_a_line_that_cannot_be_read_ends_only_its_process(hub: Hub, until, line: bytes):
    async with connected(hub, 1) as first:
        async with connected(hub, 2) as second:
            await asyncio.gather(first.siblings.loaded(), second.siblings.loaded())
            second.siblings._hub._writer.write(line)  # type: ignore[union-attr]
            await until(lambda: hub.serving == {1}, seconds=30)
        assert await first.siblings.tell_all("words.add", "red") == ["red"]


async def test_the_hub_sees_that_a_process_hangs(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hubs, "_LOOK_SECONDS", 0.01)
    own, silent = socket.socketpair()  # nobody reads this line
    async with connected(hub, 1):
        passing = asyncio.create_task(hub.connect(2, own))
        of_one = asyncio.create_task(hub.wait_until_hung(1, seconds=10))
        await hub.wait_until_hung(2, seconds=0.1)
        assert not of_one.done()
        of_one.cancel()
        silent.close()
        await passing


async def test_an_unknown_line_ends_nothing(two: list[Register]):
    message: dict[str, Any] = {"answer": 999, "value": None}
    two[0].siblings._hub._send(message)  # type: ignore[union-attr]  # an answer that nobody waits for
    assert await two[0].siblings.gather("words.count", None) == [0, 0]
