"""A worker draws from all parts of a queue at once, and a part that is away holds up none of the others."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from local.private_redis import PrivateRedis
from smalti.jobs.connection import connect
from smalti.jobs.job import Job, JobClass, JobState
from smalti.jobs.shards import names_of_shards
from smalti.jobs.store import QueueStore
from tests.conftest import Until
from tests.queues import Queues, queues_of
from tests.smalti.jobs.audit import audit_pool
from tests.worker.conftest import Hire, Model
from tests.worker.story import a_request, assert_undisturbed, ended
from worker.recovery import Recovery

NAMES = names_of_shards("default", 2)


@dataclass
class Halves:
    """A queue in two parts, each in a Redis of its own."""

    servers: list[PrivateRedis]
    clients: list[Redis]
    parts: list[Queues]

    async def submit(self, part: int, model: Model, **changes: Any) -> Job:
        """A job in this part."""
        return await self.parts[part].clients.submit(a_request(model[0], **changes))

    async def all_ended(self) -> bool:
        pages = [await part.clients.list(limit=100) for part in self.parts]
        return all(job.ended for jobs, _ in pages for job in jobs)


@pytest.fixture
async def halves() -> AsyncIterator[Halves]:
    async with AsyncExitStack() as stack:
        servers = [stack.enter_context(PrivateRedis()) for _ in NAMES]
        clients = [
            await stack.enter_async_context(connect(server.url, waits_once=True)) for server in servers
        ]
        stores = [
            QueueStore(client, pool=name, lease_seconds=1.0, has_siblings=True)
            for name, client in zip(NAMES, clients, strict=True)
        ]
        yield Halves(servers, clients, [queues_of(store) for store in stores])
        for name, client in zip(NAMES, clients, strict=True):
            await audit_pool(client, name)


async def test_a_worker_draws_the_jobs_of_all_parts(
    halves: Halves, hire: Hire, toy: Model, until: Until
) -> None:
    jobs = [await halves.submit(part, toy, count=9) for part in (0, 1, 0, 1)]
    first, second = halves.parts
    hire(first, toy, others=[second], slots=3).gate.open()
    await until(halves.all_ended)
    for job, part in zip(jobs, (first, second, first, second), strict=True):
        await assert_undisturbed(part, job, toy)


async def test_parts_with_work_get_equal_shares_of_the_slots(
    halves: Halves, hire: Hire, toy: Model, until: Until
) -> None:
    jobs = [await halves.submit(part, toy, count=60) for part in (0, 1)]
    first, second = halves.parts
    hire(first, toy, others=[second], slots=8).gate.open()
    await until(ended(first, jobs[0]))
    assert (await second.clients.get(jobs[1].id)).done >= 40


async def test_an_interactive_sample_of_any_part_gets_into_a_full_worker(
    halves: Halves, hire: Hire, toy: Model, until: Until
) -> None:
    await halves.submit(0, toy, count=50)
    first, second = halves.parts
    shift = hire(first, toy, others=[second], slots=4)
    shift.gate.permit(2)
    await until(lambda: shift.gate.rows == 2)
    interactive = await halves.submit(1, toy, job_class=JobClass.INTERACTIVE)
    await until(ended(second, interactive, JobState.RUNNING))
    shift.gate.open()
    await until(halves.all_ended)


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_part_that_is_away_stops_its_jobs_and_no_others(
    halves: Halves, hire: Hire, toy: Model, until: Until, fault: signal.Signals
) -> None:
    first, second = halves.parts
    jobs = [await halves.submit(part, toy, count=12) for part in (0, 1)]
    shift = hire(first, toy, others=[second], slots=4, lease_seconds=1.0)
    recovering = [asyncio.create_task(Recovery(part.upkeep).run(shift.stopping)) for part in (first, second)]
    shift.gate.permit(2)
    await until(lambda: shift.gate.rows == 2)
    os.kill(halves.servers[1].pid, fault)  # given a part that fails while its samples are drawn
    shift.gate.open()
    await until(ended(first, jobs[0]))  # the other part's job is drawn to its end, without a redelivery
    await assert_undisturbed(first, jobs[0], toy)
    if fault is signal.SIGKILL:
        halves.servers[1].kill()
        halves.servers[1].start()
    else:
        os.kill(halves.servers[1].pid, signal.SIGCONT)
    await until(lambda: not second.store.away)
    await until(ended(second, jobs[1]))
    await assert_undisturbed(second, jobs[1], toy)
    shift.stopping.set()
    await asyncio.gather(*recovering)
