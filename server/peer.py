"""Two processes that ask each other: JSON lines over one socket, every question numbered, answers in any order."""

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from itertools import count
from socket import socket
from typing import Any, Self

import structlog

from server import request_ids
from smalti import errors
from smalti.errors import InternalError, InvalidRequest, SmaltiError

log = structlog.get_logger()
Answer = Callable[[str, Any], Awaitable[Any]]  # from a command and its argument, both JSON, to the answer
_LONGEST_LINE = 64 * 1024 * 1024
_TOLD = ("field", "retry_seconds")  # what some errors have beside their message


class PeerGone(SmaltiError):
    """The process at the other end has ended, or ends."""


class Peer:
    """One end of the line. `run` reads it until the other end closes."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, answer: Answer) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._is_gone = False

    @classmethod
    async def over(cls, connected: socket, answer: Answer) -> Self:
        """One end of a connected socket; `answer` answers what the other end asks."""
        return cls(*await asyncio.open_unix_connection(sock=connected, limit=_LONGEST_LINE), answer)

    async def ask(self, command: str, argument: Any = None) -> Any:
        """What the other end answers; raises the SmaltiError that it raised, or PeerGone.

        Raises InvalidRequest where the argument is too long for a line.
        """
        if self._is_gone:
            raise PeerGone("The process has ended.")
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            request_id = request_ids.request_id()  # the other process's log names the RPC, too
            self._send({"ask": number, "command": command, "argument": argument, "request_id": request_id})
            return await answer
        finally:
            del self._asked[number]

    async def run(self) -> None:
        """Answer, and take answers, until the other end closes the line."""
        try:
            while line := await self._reader.readline():
                self._take(json.loads(line))
        except ConnectionError:
            pass  # it was killed
        except ValueError as error:  # nothing after such a line can be trusted
            log.error("a line between processes cannot be read", reason=str(error))
        finally:
            self._leave()

    def _leave(self) -> None:
        self._is_gone = True
        self._writer.close()
        for task in self._answering:
            task.cancel()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(PeerGone("The process ended before it answered."))

    def _take(self, message: dict[str, Any]) -> None:
        if "ask" in message:
            task = asyncio.create_task(self._reply(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            return
        answer = self._asked.get(message["answer"])
        if answer is None or answer.done():
            return  # nobody waits for it any more
        if "failure" in message:
            answer.set_exception(_error(message["failure"]))
        else:
            answer.set_result(message["value"])

    async def _reply(self, message: dict[str, Any]) -> None:
        number, command = message["ask"], message["command"]
        if message["request_id"]:
            request_ids.begin(message["request_id"])
        try:
            self._send({"answer": number, "value": await self._answer(command, message["argument"])})
        except SmaltiError as error:
            self._send({"answer": number, "failure": _described(error)})
        except Exception as error:  # the edge: the other process must get an answer
            log.error("bug in smalti, please report it", command=command, exc_info=error)
            bug = InternalError(f"This is a bug in smalti: the server's log has the traceback of {command}.")
            self._send({"answer": number, "failure": _described(bug)})

    def _send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, separators=(",", ":")).encode()
        if len(line) >= _LONGEST_LINE:
            raise InvalidRequest("This is too long to be passed on to the other processes of the server.")
        if not self._is_gone:
            self._writer.write(line + b"\n")


def _described(error: SmaltiError) -> dict[str, Any]:
    """An error as JSON. Only classes of smalti.errors cross the line: another one goes as its nearest base class."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    more = {name: value for name, value in vars(error).items() if name in _TOLD}
    return {"kind": kind.__name__, "message": str(error), "more": more}


def _error(described: dict[str, Any]) -> SmaltiError:
    error: SmaltiError = getattr(errors, described["kind"])(described["message"], **described["more"])
    return error
