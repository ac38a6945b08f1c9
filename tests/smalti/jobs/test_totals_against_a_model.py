"""After any calls of several clients in any order, the totals are those of the records, and the limits hold."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, invariant, multiple, rule

from local.private_redis import PrivateRedis
from smalti.errors import JobNotFinished, JobNotFound, JobOver, LimitReached
from smalti.jobs import script
from smalti.jobs.job import TERMINAL, Claim, Failed, Finished, JobState, Released
from smalti.jobs.limits import ClientLimits, QueueLimits
from tests.queues import queues_on
from tests.smalti.jobs.audit import audit_pool
from tests.smalti.jobs.machines import MachineOnRedis, run_on
from tests.smalti.jobs.story import (
    ADMIN,
    ANNE,
    BEN,
    ROWS,
    Asking,
    Twice,
    claim_from,
    drawn,
    request_for,
    take_lease_away,
)

CLIENTS = st.sampled_from([ANNE, BEN])
WORKERS = st.sampled_from(["anna", "berta"])
LIMITS = ClientLimits(jobs=3, pixels=96, result_bytes=25_000)


class TotalsMachine(MachineOnRedis):
    """Clients, workers and upkeep on a real Redis; every script is sent twice."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.queue = queues_on(
            Twice(self.redis),  # type: ignore[arg-type]  # it behaves like one
            limits=QueueLimits(client=LIMITS),
            lease_seconds=60,
        )
        self.owners: dict[str, Asking] = {}

    def teardown(self) -> None:
        self._run(self._finish_recount())
        self._run(audit_pool(self.redis))
        super().teardown()

    @rule(target=jobs, client=CLIENTS, count=st.integers(1, 5), request_id=st.sampled_from(["", "x"]))
    def submit(self, client: Asking, count: int, request_id: str) -> Any:
        return self._run(self._submit(client, count, request_id))

    async def _submit(self, client: Asking, count: int, request_id: str) -> Any:
        request = request_for(count=count if not request_id else 2)
        before = await self._used(client)
        try:
            job = await self.queue.of(client).submit(request, request_id=request_id)
        except LimitReached:
            size = 12 * request.count
            room = before["bytes"] + 4_500 + request.count * 200
            assert before["jobs"] == LIMITS.jobs or before["pixels"] + size > 96 or room > 25_000
            return multiple()
        assert self.owners.setdefault(job.id, client) is client
        return job.id

    @rule(target=claims, worker=WORKERS, limit=st.integers(1, 4))
    def claim(self, worker: str, limit: int) -> Any:
        claims = self._run(claim_from(self.queue, worker, limit=limit))
        return multiple(*((worker, claim) for claim in claims))

    @rule(
        claim=consumes(claims),
        outcome=st.sampled_from([Finished(-1.0), Finished(-1.0), Failed("no"), Released()]),
    )
    def end(self, claim: tuple[str, Claim], outcome: Any) -> None:
        worker, sample = claim
        rows = ROWS if isinstance(outcome, Finished) else 1
        first = len(sample.pixels) // 3
        self._run(self.queue.workers.commit(worker, [drawn(sample, first, max(first, rows), outcome)]))

    @rule(worker=WORKERS)
    def lose_the_lease(self, worker: str) -> None:
        self._run(take_lease_away(self.queue, self.redis, worker))

    @rule(job_id=jobs, client=CLIENTS, is_admin=st.booleans())
    def cancel(self, job_id: str, client: Asking, is_admin: bool) -> None:
        self._run(self._ask("cancel", job_id, ADMIN if is_admin else client))

    @rule(
        job_id=jobs,
        client=CLIENTS,
        is_admin=st.booleans(),
        what=st.sampled_from(["pause", "pause", "resume"]),
    )
    def pause_or_resume(self, job_id: str, client: Asking, is_admin: bool, what: str) -> None:
        self._run(self._ask(what, job_id, ADMIN if is_admin else client))

    @rule(job_id=jobs, client=CLIENTS, is_admin=st.booleans())
    def delete(self, job_id: str, client: Asking, is_admin: bool) -> None:
        self._run(self._ask("delete", job_id, ADMIN if is_admin else client))

    async def _ask(self, what: str, job_id: str, asker: Asking) -> None:
        owner = self.owners[job_id]
        exists = bool(await self.redis.exists(self.queue.store.keys.job(job_id)))
        call = getattr(self.queue.of(asker), what)(job_id)
        if not exists or (asker is not owner and asker is not ADMIN):
            with pytest.raises(JobNotFound):
                await call
            return
        try:
            await call
        except JobNotFinished:
            assert (await self.queue.of(owner).get(job_id)).state not in TERMINAL
        except JobOver:
            assert (await self.queue.of(owner).get(job_id)).state in {*TERMINAL, JobState.CANCELLING}

    @rule(most=st.integers(1, 3), record_is_gone=st.sampled_from([False, False, True]))
    def expire(self, most: int, record_is_gone: bool) -> None:
        self._run(self._expire(most, record_is_gone))

    async def _expire(self, most: int, record_is_gone: bool) -> None:
        """The retention of some jobs passes; perhaps Redis removes their records first, and later somebody recounts."""
        expiry = self.queue.store.keys.prefix + "expiry"
        for member in await self.redis.zrange(expiry, 0, most - 1):
            await self.redis.zadd(expiry, {member: 1})
            if record_is_gone:
                job_id = member.decode().split()[0]
                names = await self.redis.keys(f"*:{job_id}*")
                await self.redis.delete(*names)
        await self.queue.upkeep.expire()
        if record_is_gone:
            await self._finish_recount()
            await self.queue.upkeep.recount(every_seconds=0)

    @rule()
    def count_one_more_job(self) -> None:
        """A recount goes on by one job; other rules come in between."""
        self._run(self.queue.store.run(script.RECOUNT, 1, 0))

    async def _finish_recount(self) -> None:
        await self.queue.upkeep.recount(every_seconds=0)

    @invariant()
    def the_totals_are_those_of_the_records(self) -> None:
        self._run(audit_pool(self.redis))

    @invariant()
    def no_client_has_more_than_its_limits(self) -> None:
        for client in (ANNE, BEN):
            used = self._run(self._used(client))
            assert used["jobs"] <= 3
            assert used["pixels"] <= 96
            assert used["bytes"] <= 25_000

    async def _used(self, client: Asking) -> dict[str, int]:
        totals = self.queue.store.keys.totals
        fields = ("jobs", "pixels", "bytes")
        values = await self.redis.hmget(totals, [f"{what} {client.name}" for what in fields])
        return {what: int(value or 0) for what, value in zip(fields, values, strict=True)}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_totals_and_limits_hold_whatever_happens(redis_server: PrivateRedis) -> None:
    run_on(redis_server, TotalsMachine)
