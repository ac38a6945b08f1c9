"""One id for each RPC: its log events, its response's metadata and its error carry it."""

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from itertools import count

from structlog.contextvars import bind_contextvars

KEY = "x-request-id"  # in the metadata of a request, and in the trailing metadata of its response
_FORM = re.compile(r"[!-~]{1,128}")  # no blanks, and nothing that could break a line of the log
_PROCESS = secrets.token_hex(8)  # ids are unique, but no secret
_numbers = count(1)
_id: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """The id of the RPC that this task answers; empty in a task that answers none."""
    return _id.get()


def choose(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The client's id if it gave one of a good form, else a new one."""
    given = next((value for key, value in metadata if key == KEY), "")
    return given if isinstance(given, str) and _FORM.fullmatch(given) else f"{_PROCESS}{next(_numbers):x}"


def begin(chosen: str) -> None:
    """From now on this task answers the RPC with this id."""
    _id.set(chosen)
    bind_contextvars(request_id=chosen)
