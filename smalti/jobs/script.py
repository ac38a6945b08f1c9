"""Loads the Lua scripts and runs them, by their hash where Redis knows them already."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

_FOLDER = files("smalti.jobs") / "scripts"


@dataclass(frozen=True, slots=True)
class Script:
    """One transition of the queue, run by Redis as a whole."""

    source: str
    sha: str

    async def __call__(
        self, redis: Redis, keys: Sequence[str], arguments: Sequence[str | bytes | int] = ()
    ) -> Any:  # what a script returns is up to the script
        """Run it; a Redis that has forgotten its scripts is sent the source again."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await redis.eval(self.source, len(keys), *keys, *arguments)


def _load(name: str) -> Script:
    source = "\n".join((_FOLDER / file).read_text("utf-8") for file in ("shared.lua", f"{name}.lua"))
    # Redis names scripts so; nothing secret depends on it.
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


SUBMIT = _load("submit")
CLAIM = _load("claim")
COMMIT = _load("commit")
RENEW = _load("renew")
LEAVE = _load("leave")
RECOVER = _load("recover")
CANCEL = _load("cancel")
DELETE = _load("delete")
EXPIRE = _load("expire")
DEPTH = _load("depth")
DRAWABLE = _load("drawable")
RUNNING = _load("running")
LAYOUT = _load("layout")
