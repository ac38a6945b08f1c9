"""After any calls in any order, a claim serves those with the least time, and counts what it gave."""

from collections import Counter
from itertools import product
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, invariant, multiple, rule

from local.private_redis import PrivateRedis
from smalti.jobs.job import Claim, Failed, Finished, JobClass, Released
from tests.queues import queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.machines import MachineOnRedis, run_on
from tests.smalti.jobs.story import COLUMNS, ROWS, Asking, Twice, claim_from, drawn, request_for

CLIENTS = {name: Asking(name) for name in ("anne", "ben", "cora")}
DIGESTS = ("digest-a", "digest-b")
WORKERS = st.sampled_from(["anna", "berta"])
EPSILON = 1e-6


class SharingMachine(MachineOnRedis):
    """Clients of several weights and classes, with jobs of two models, on a real Redis; every script is sent twice."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.queue = queues_on(Twice(self.redis), lease_seconds=60)  # type: ignore[arg-type]  # it behaves like one
        self.prefix = self.queue.store.keys.prefix
        self.owners: dict[str, str] = {}
        self.weights = dict.fromkeys(CLIENTS, 1.0)

    @rule(client=st.sampled_from(list(CLIENTS)), weight=st.sampled_from([0.5, 1.0, 3.0]))
    def weigh(self, client: str, weight: float) -> None:
        self._run(self.queue.weights.set(client, weight))
        self.weights[client] = weight

    @rule(
        target=jobs,
        client=st.sampled_from(list(CLIENTS)),
        count=st.integers(1, 12),
        digest=st.sampled_from(DIGESTS),
        job_class=st.sampled_from(JobClass),
    )
    def submit(self, client: str, count: int, digest: str, job_class: JobClass) -> str:
        return self._run(self._submit(client, count, digest, job_class))

    async def _submit(self, client: str, count: int, digest: str, job_class: JobClass) -> str:
        """A client that has nothing to claim begins at the clock, or at its own time if that is later."""
        before = await self._times(job_class)
        waited = any([await self._waits(client, job_class, each) for each in DIGESTS])
        clock = float(await self.redis.hget(self.queue.store.keys.meta, f"clock {job_class}") or 0)
        request = request_for(count=count, digest=digest, job_class=job_class)
        job = await self.queue.of(CLIENTS[client]).submit(request)
        own = before.get(client, 0.0)
        assert await self._times(job_class) == before | {client: own if waited else max(own, clock)}
        self.owners[job.id] = client
        return job.id

    @rule(
        target=claims,
        worker=WORKERS,
        limit=st.integers(0, 8),
        interactive=st.integers(0, 3),
        digests=st.sampled_from([DIGESTS, DIGESTS[:1], DIGESTS[1:]]),
    )
    def claim(self, worker: str, limit: int, interactive: int, digests: tuple[str, ...]) -> Any:
        claims = self._run(self._claim(worker, limit, interactive, digests))
        return multiple(*((worker, claim) for claim in claims))

    async def _claim(
        self, worker: str, limit: int, interactive: int, digests: tuple[str, ...]
    ) -> list[Claim]:
        before = {job_class: await self._times(job_class) for job_class in JobClass}
        claims = await claim_from(
            self.queue, worker, limit=limit, interactive=interactive, digests=list(digests)
        )
        for job_class in JobClass:
            given = [claim for claim in claims if claim.request.job_class is job_class]
            await self._check_clients(job_class, digests, given, before[job_class])
        if not interactive:
            await self._check_classes(worker, digests, claims)
        return claims

    async def _check_clients(
        self, job_class: JobClass, digests: tuple[str, ...], given: list[Claim], before: dict[str, float]
    ) -> None:
        after = await self._times(job_class)
        pixels: Counter[str] = Counter()
        for claim in given:
            pixels[self.owners[claim.job]] += _pixels_left(claim)
        for client, time in after.items():
            assert time == pytest.approx(before[client] + pixels[client] / self.weights[client])
        waiting = [
            client
            for client in CLIENTS
            if any([await self._waits(client, job_class, digest) for digest in digests])
        ]
        for served, other in product(pixels, waiting):
            last_began = after[served] - ROWS * COLUMNS / self.weights[served]
            assert last_began <= after[other] + EPSILON, f"{served} was served although {other} was due"

    async def _check_classes(self, worker: str, digests: tuple[str, ...], given: list[Claim]) -> None:
        state = await self.redis.hgetall(f"{self.prefix}worker:{worker}")
        times = {job_class: float(state[f"time {job_class}".encode()]) for job_class in JobClass}
        waiting = [
            job_class
            for job_class in JobClass
            if any([await self.redis.exists(f"{self.prefix}turns:{each}:{job_class}") for each in digests])
        ]
        for served, other in product({claim.request.job_class for claim in given}, waiting):
            last_began = times[served] - ROWS * COLUMNS / served.weight
            assert last_began <= times[other] + EPSILON, f"{served} was served although {other} was due"

    @rule(
        claim=consumes(claims),
        rows=st.integers(0, ROWS),
        outcome=st.sampled_from([None, Finished(-1.0), Failed("no"), Released()]),
    )
    def commit(self, claim: tuple[str, Claim], rows: int, outcome: Any) -> None:
        """What was not drawn is given back to the client."""
        self._run(self._commit(*claim, rows, outcome))

    async def _commit(self, worker: str, claim: Claim, rows: int, outcome: Any) -> None:
        token = await self.redis.zscore(f"{self.prefix}held:{worker}", f"{claim.job}:{claim.index}")
        client, job_class = self.owners[claim.job], claim.request.job_class
        before = (await self._times(job_class)).get(client, 0.0)
        first = len(claim.pixels) // COLUMNS
        last = ROWS if isinstance(outcome, Finished) else max(first, rows)
        [reply] = await self.queue.workers.commit(worker, [drawn(claim, first, last, outcome)])
        goes_back = token == int(claim.token) and (
            reply.verdict == "CANCELLED" or isinstance(outcome, Failed | Released)
        )
        if goes_back:
            committed = first if reply.verdict == "CANCELLED" else last
            expected = before - (ROWS - committed) * COLUMNS / self.weights[client]
            clock = float(await self.redis.hget(self.queue.store.keys.meta, f"clock {job_class}") or 0)
            time = (await self._times(job_class))[client]
            assert time in (pytest.approx(expected), pytest.approx(max(expected, clock)))

    @rule(worker=WORKERS)
    def leave(self, worker: str) -> None:
        self._run(self.queue.workers.leave(worker))

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        self._run(self.queue.clients.cancel(job_id))

    async def _times(self, job_class: JobClass) -> dict[str, float]:
        """The time of each client that is known in a class."""
        times = {
            name: await self.redis.hget(f"{self.prefix}share:{job_class}:{name}", "time") for name in CLIENTS
        }
        return {name: float(time) for name, time in times.items() if time}

    async def _waits(self, client: str, job_class: JobClass, digest: str) -> bool:
        return bool(await self.redis.exists(f"{self.prefix}ready:{digest}:{job_class}:{client}"))

    @invariant()
    def the_lists_of_clients_are_those_of_the_jobs(self) -> None:
        self._run(audit_pool(self.redis))


def _pixels_left(claim: Claim) -> int:
    return (ROWS - len(claim.pixels) // COLUMNS) * COLUMNS


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_claim_serves_those_who_are_due_whatever_happened_before(redis_server: PrivateRedis) -> None:
    run_on(redis_server, SharingMachine)
