"""Opens the queue three times, for users, watchers and upkeep, so that none of them waits for another's connections."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from smalti.jobs.connection import connect
from smalti.jobs.keys import Keys
from smalti.jobs.store import QueueStore
from smalti.runtime.settings import ServerSettings

# Connections to Redis of one process. A call that finds none free waits for one.
_FOR_USERS = 32
_FOR_WATCHERS = 16  # one of them reads events; readers of jobs take turns at the others
_FOR_UPKEEP = 4  # health depends on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """One queue over separate connections."""

    users: QueueStore
    watchers: QueueStore
    upkeep: QueueStore


@asynccontextmanager
async def open_stores(settings: ServerSettings) -> AsyncIterator[Stores]:
    """The queue that these settings name, until the block ends."""
    async with AsyncExitStack() as stack:
        users, watchers, upkeep = [
            await stack.enter_async_context(
                connect(
                    settings.redis_url,
                    slot=Keys(settings.pool).slot,
                    allow_volatile=settings.allow_volatile_redis,
                    connections=connections,
                )
            )
            for connections in (_FOR_USERS, _FOR_WATCHERS, _FOR_UPKEEP)
        ]
        store = QueueStore(
            users,
            pool=settings.pool,
            lease_seconds=settings.lease_seconds,
            allow_volatile=settings.allow_volatile_redis,
        )
        yield Stores(users=store, watchers=store.over(watchers), upkeep=store.over(upkeep))
