"""Reads the file of tokens, and finds the client that a token belongs to."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from server.caller import Caller
from smalti.errors import SettingsInvalid
from smalti.jobs.limits import ClientLimits
from smalti.printable import printable
from smalti.runtime.names import CLIENT_NAME, GROUPS, Group
from smalti.runtime.rereading import Reread, unfit, warn_of_writers
from smalti.runtime.settings import Total

_VARIABLE = "SMALTI_TOKENS_FILE"
Clients = Sequence[tuple[bytes, Caller]]  # each with the SHA-256 of a token; a client may have several tokens


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class _Limits(BaseModel):
    """How much one client may have, where it differs from the settings."""

    model_config = ConfigDict(extra="forbid", strict=True)

    jobs: Total | None = None
    pixels: Total | None = None
    result_bytes: Total | None = None


class _Entry(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    groups: Annotated[list[Group], Field(min_length=1)]
    sha256: Annotated[
        list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(min_length=1), BeforeValidator(_as_list)
    ]
    limits: _Limits = _Limits()


_ENTRIES = TypeAdapter(dict[str, _Entry])
_TAKES = {  # messages never quote the file: somebody may have written a token into it
    "groups": f"a list of {', '.join(GROUPS[:-1])} and {GROUPS[-1]}",
    "limits": "a table with any of jobs, pixels and result_bytes, each a whole number from 1",
    "sha256": "the SHA-256 of a token as 64 hexadecimal digits in lower case, or a list of those",
}


class Tokens:
    """The clients in the file of tokens; raises SettingsInvalid if it cannot be used. `files` looks for changes."""

    def __init__(self, path: Path) -> None:
        self.files: Reread[Clients] = Reread([path], lambda: read_clients(path))
        warn_of_writers(path)

    def client_of(self, token: str) -> Caller | None:
        """The client with this token; as fast for every token, so the time says nothing about those in the file."""
        digest, found = sha256(token.encode(errors="replace")).digest(), None
        for known, client in self.files.value:
            if compare_digest(known, digest):
                found = client
        return found


def read_clients(path: Path) -> Clients:
    """The clients in a file of tokens; raises SettingsInvalid."""
    clients = [
        (bytes.fromhex(digest), client)
        for client, digests in (_client(name, entry) for name, entry in _entries(path).items())
        for digest in digests
    ]
    if not clients:
        raise _unfit(path, "it names no client")
    if len({digest for digest, _ in clients}) < len(clients):
        raise _unfit(path, "it has one SHA-256 twice")
    return clients


def _client(name: str, entry: _Entry) -> tuple[Caller, Sequence[str]]:
    """A client and the digests of its tokens."""
    limits = ClientLimits(**entry.limits.model_dump())
    return Caller(name=name, groups=frozenset(entry.groups), limits=limits), entry.sha256


def _entries(path: Path) -> Mapping[str, _Entry]:
    try:
        entries = _ENTRIES.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise _unfit(path, f"it cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise _unfit(path, _said(error)) from None  # its cause quotes the file
    except ValueError as error:  # TOML's messages name a place, and UTF-8's a byte
        raise _unfit(path, f"it is not TOML in UTF-8 ({_place(error)})") from None
    for name in entries:
        if not re.fullmatch(CLIENT_NAME, name):
            raise _unfit(
                path,
                f"the name '{printable(name, longest=80)}' must begin with an ASCII letter or digit and go on with "
                "those and . _ -, up to 64",
            )
    return entries


def _said(error: ValidationError) -> str:
    """What is wrong first, in words."""
    where = [str(part) for part in error.errors()[0]["loc"]]
    name, field = printable(where[0], longest=80), where[1] if len(where) > 1 else ""
    if field in _TAKES:
        return f"{field} of [{name}] must be {_TAKES[field]}"
    if field:
        return f"[{name}] has {printable(field, longest=80)}, which nothing reads"
    return f"'{name}' must be a table, [{name}]"


def _place(error: ValueError) -> str:
    found = re.search(r"\(at .*\)$", str(error))
    return found[0].strip("()") if found else "wrong bytes"


def _unfit(path: Path, reason: str) -> SettingsInvalid:
    return unfit(_VARIABLE, path, reason)
