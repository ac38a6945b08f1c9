"""The weights by which clients share the workers: a client of weight 2 gets twice the pixels of one of weight 1."""

import asyncio
from collections.abc import Mapping

from smalti.errors import InvalidRequest
from smalti.jobs.shards import Shards, as_shards
from smalti.jobs.store import QueueStore

USUAL_WEIGHT = 1.0
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0


class ClientWeights:
    """Reads and sets the weights of clients; a new one counts from a client's next claimed sample on."""

    def __init__(self, store: QueueStore | Shards) -> None:
        self._shards = as_shards(store)

    async def all(self) -> Mapping[str, float]:
        """The weights that are not 1, by client, in alphabetical order."""
        store = self._shards.all[0]  # all parts have the same
        weights = store.keys.weights
        with store.available(weights):
            found = await store.redis.hgetall(weights)
        return {name.decode(): float(weight) for name, weight in sorted(found.items())}

    async def set(self, client: str, weight: float) -> None:
        """Give a client a weight from 0.01 to 100; raises InvalidRequest. The client need not have a job yet."""
        if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
            raise InvalidRequest(
                f"A weight is a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}, not {weight:g}.",
                field="weight",
            )
        await asyncio.gather(*(_set(store, client, weight) for store in self._shards.all))


async def _set(store: QueueStore, client: str, weight: float) -> None:
    weights = store.keys.weights
    with store.available(weights):
        if weight == USUAL_WEIGHT:
            await store.redis.hdel(weights, client)
        else:
            await store.redis.hset(weights, client, repr(float(weight)))
