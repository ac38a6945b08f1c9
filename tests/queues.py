"""All sides of one queue, for tests that play clients, workers and watchers at once."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from smalti.jobs.clients import ClientJobs, ClientQueue
from smalti.jobs.limits import DEFAULT_LIMITS, EVERYBODY, Asker, QueueLimits
from smalti.jobs.sharing import ClientWeights
from smalti.jobs.store import QueueStore
from smalti.jobs.upkeep import QueueUpkeep
from smalti.jobs.watchers import WatcherQueue
from smalti.jobs.workers import WorkerQueue


@dataclass(frozen=True, kw_only=True)
class Queues:
    """The queue as each of its callers has it."""

    store: QueueStore
    clients: ClientJobs  # all jobs, as a server without tokens sees them
    all_clients: ClientQueue
    workers: WorkerQueue
    watchers: WatcherQueue
    upkeep: QueueUpkeep
    weights: ClientWeights
    claims: "Counter[str]" = field(default_factory=Counter)  # sequence numbers, by worker

    def of(self, asker: Asker) -> ClientJobs:
        """The queue as one client sees it."""
        return self.all_clients.of(asker)


def queues_on(redis: Redis, *, limits: QueueLimits = DEFAULT_LIMITS, **options: Any) -> Queues:
    """The queue of a pool on this Redis."""
    return queues_of(QueueStore(redis, **options), limits=limits)


def queues_of(store: QueueStore, *, limits: QueueLimits = DEFAULT_LIMITS) -> Queues:
    """The queue that is kept in this store."""
    clients = ClientQueue(store, limits=limits)
    return Queues(
        store=store,
        clients=clients.of(EVERYBODY),
        all_clients=clients,
        workers=WorkerQueue(store),
        watchers=WatcherQueue(store),
        upkeep=QueueUpkeep(store),
        weights=ClientWeights(store),
    )
