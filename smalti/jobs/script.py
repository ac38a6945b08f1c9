"""Loads the Lua scripts and runs them: by their hash, if Redis knows them already."""

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
    """One transition of the queue. Redis runs it as a whole."""

    source: str
    sha: str

    async def __call__(
        self, redis: Redis, keys: Sequence[str], arguments: Sequence[str | bytes | int] = ()
    ) -> Any:  # what a script returns is up to the script
        """Run it. If Redis has forgotten its scripts, send the source again."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await redis.eval(self.source, len(keys), *keys, *arguments)


def _load(name: str) -> Script:
    source = "\n".join((_FOLDER / file).read_text("utf-8") for file in ("shared.lua", f"{name}.lua"))
    # Redis names scripts by their SHA-1; nothing secret depends on it.
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())


SUBMIT = _load("submit")
CLAIM = _load("claim")
COMMIT = _load("commit")
RENEW = _load("renew")
LEAVE = _load("leave")
RECOVER = _load("recover")
CANCEL = _load("cancel")
DEADLINE = _load("deadline")
PAUSE = _load("pause")
RESUME = _load("resume")
TAKE_WEBHOOKS = _load("take_webhooks")
SETTLE_WEBHOOK = _load("settle_webhook")
DELETE = _load("delete")
EXPIRE = _load("expire")
DEPTH = _load("depth")
DRAWABLE = _load("drawable")
REQUESTS = _load("requests")
RUNNING = _load("running")
RECOUNT = _load("recount")
LAYOUT = _load("layout")
AUDIT_JOBS = _load("audit_jobs")
AUDIT_SAMPLES = _load("audit_samples")
AUDIT_RESULTS = _load("audit_results")
AUDIT_KEYS = _load("audit_keys")
AUDIT_SHARES = _load("audit_shares")
TAKE_TURN = _load("take_turn")
PAUSE_POOL = _load("pause_pool")
DRAIN = _load("drain")
