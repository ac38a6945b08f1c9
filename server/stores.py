"""Opens the queue three times, for users, watchers and upkeep, so that none of them waits for another's connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from smalti.jobs.shards import Shards, open_shards
from smalti.runtime.settings import ServerSettings

# Connections to each Redis of one process. A call that finds none free waits for one.
_FOR_USERS = 32
_FOR_WATCHERS = 16  # one of them reads events; readers of jobs take turns at the others
_FOR_UPKEEP = 4  # health depends on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """One queue over separate connections."""

    users: Shards
    watchers: Shards
    upkeep: Shards


@asynccontextmanager
async def open_stores(settings: ServerSettings) -> AsyncIterator[Stores]:
    """The queue that these settings name, until the block ends."""
    async with open_shards(settings, _FOR_USERS, _FOR_WATCHERS, _FOR_UPKEEP) as (users, watchers, upkeep):
        yield Stores(users=users, watchers=watchers, upkeep=upkeep)
