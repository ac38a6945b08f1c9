"""Many watchers of a running server: others are answered, places are limited, and an outage of Redis ends no watch."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis

import server.services.jobs as job_service
from server.caller import Caller
from smalti.address import parse_address
from smalti.client.channel import options
from smalti.v1 import images_pb2, jobs_pb2, jobs_pb2_grpc, types_pb2
from tests.server.conftest import Running, refused
from tests.server.hand_worker import HandWorker
from tests.server.several import Several

MODEL = types_pb2.ModelVersion(name="toy-pixel-rnn")
HEIGHT = 6
STREAMS_PER_CONNECTION = 200  # fewer than the server takes


@asynccontextmanager
async def stubs(address: str, count: int) -> AsyncIterator[list[Any]]:
    """So many stubs of JobService, each with a connection of its own."""
    own = [*options(parse_address(address, name="address")), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, own) for _ in range(count)]
    try:
        yield [jobs_pb2_grpc.JobServiceStub(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


async def submit(server: Running, count: int = 1) -> str:
    reply = await server.jobs.Submit(jobs_pb2.SubmitRequest(model=MODEL, count=count))
    return str(reply.job.id)


def watch(stub: Any, job_id: str, *, rows: bool = True) -> Any:
    return stub.Watch(jobs_pb2.WatchRequest(id=job_id, rows=rows))


async def begin(stub: Any, job_id: str, **given) -> Any:
    """A watch whose snapshot has come."""
    call = watch(stub, job_id, **given)
    await anext(aiter(call))
    return call


async def rest(call: Any) -> list[Any]:
    return [event async for event in call]


def worker_of(server: Running) -> HandWorker:
    return HandWorker(server.queue.workers, [model.digest for model in server.application.catalogue.models()])


def watched(server: Running) -> dict[str, int]:
    return server.application._board.watched


async def test_five_hundred_watchers_of_a_changing_job_leave_redis_and_the_server_to_others(
    server: Running, hand_worker: HandWorker, redis: Redis
):
    job_id = await submit(server, count=8)
    async with stubs(server.address, 3) as connected:
        calls = [
            await begin(connected[number // STREAMS_PER_CONNECTION], job_id, rows=bool(number % 2))
            for number in range(500)
        ]
        assert watched(server) == {job_id: 500}
        following = [asyncio.create_task(rest(call)) for call in calls]
        claims = await hand_worker.claim(8)
        for row in range(HEIGHT):
            for claim in claims:
                await hand_worker.draw(claim, first_row=row, rows=1)
            assert (await server.jobs.Get(jobs_pb2.GetJobRequest(id=job_id), timeout=10)).id == job_id
            assert await submit(server)
            assert await server.status() == "SERVING"
        connections = (await redis.info("clients"))["connected_clients"]
        events = await asyncio.gather(*following)
    assert connections < 60  # those of the server and of the test
    assert {seen[-1].job.state for seen in events} == {jobs_pb2.JOB_STATE_SUCCEEDED}
    ends = [sorted(event.ended.index for event in seen if event.HasField("ended")) for seen in events]
    assert ends == [list(range(8))] * 500
    assert watched(server) == {}


async def test_a_crowd_that_comes_at_once_is_let_in_one_after_another(server: Running, redis: Redis):
    job_id = await submit(server)
    async with stubs(server.address, 5) as connected:
        beginning = [begin(connected[number % 5], job_id) for number in range(1000)]
        crowd = asyncio.gather(*beginning)
        assert (await server.jobs.Get(jobs_pb2.GetJobRequest(id=job_id), timeout=60)).id == job_id
        await crowd  # nobody was refused
        clients = (await redis.info("clients"))["connected_clients"]
        assert watched(server) == {job_id: 1000}
    assert clients < 30  # a connection for each would be more


async def test_watchers_beyond_the_limits_are_refused_with_a_delay_until_one_leaves(start_server, until):
    async with start_server(max_watchers=3, max_watchers_per_job=2) as server:
        job, other = await submit(server), await submit(server)
        first, second = await begin(server.jobs, job), await begin(server.jobs, job)
        refusal = await refused(watch(server.jobs, job))
        assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "WATCHERS_FULL")
        assert refusal.message == f"Job {job} has 2 watchers, and no more are taken: try again later."
        assert refusal.retry_seconds == 5.0
        third = await begin(server.jobs, other)
        refusal = await refused(watch(server.jobs, other))
        assert (refusal.code, refusal.retry_seconds) == ("RESOURCE_EXHAUSTED", 5.0)
        assert refusal.message == "This server has 3 watchers, and takes no more: try again later."
        first.cancel()
        await until(lambda: watched(server) == {job: 1, other: 1})
        fourth = await begin(server.jobs, job)
        for call in (second, third, fourth):
            call.cancel()


async def test_a_client_with_a_name_has_a_limit_of_its_own(start_server, monkeypatch: pytest.MonkeyPatch):
    async with start_server(max_watchers_per_client=1) as server:
        for name in ("anna", "ben"):
            who = Caller(name=name, groups=frozenset({"jobs"}))
            monkeypatch.setattr(job_service, "caller", lambda who=who: who)
            job = await submit(server)
            await begin(server.jobs, job)
            refusal = await refused(watch(server.jobs, job))
            assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "WATCHERS_FULL")


async def test_a_watch_of_no_job_takes_no_place(start_server):
    async with start_server(max_watchers=1) as server:
        for _ in range(3):
            assert (await refused(watch(server.jobs, "nosuchjob"))).code == "NOT_FOUND"
        await begin(server.jobs, await submit(server))


async def test_a_drawing_needs_no_place_of_a_watcher(start_server, until):
    async with start_server(max_watchers=1, max_watchers_per_job=1) as server:
        await begin(server.jobs, await submit(server))
        call = server.images.DrawStream(images_pb2.DrawStreamRequest(model=MODEL))
        assert (await anext(aiter(call))).HasField("started")
        assert await until(lambda: worker_of(server).draw_all())
        assert (await rest(call))[-1].HasField("finished")


async def test_watchers_go_on_after_redis_was_away(start_server, own_redis, until):
    async with start_server(redis_url=own_redis.url) as server:
        job_id = await submit(server, count=2)
        calls = [await begin(server.jobs, job_id) for _ in range(20)]
        following = [asyncio.create_task(rest(call)) for call in calls]
        own_redis.kill()
        await until(lambda: _has_status(server, "NOT_SERVING"), seconds=30)
        own_redis.start()
        await until(lambda: _has_status(server, "SERVING"), seconds=30)
        await worker_of(server).draw_all()
        events = await asyncio.gather(*following)
    assert {seen[-1].job.state for seen in events} == {jobs_pb2.JOB_STATE_SUCCEEDED}


async def _has_status(server: Running, status: str) -> bool:
    return await server.status() == status


async def test_a_storm_of_cancelled_watches_leaves_no_reader_and_no_place(server: Running, until):
    chance = random.Random(7)
    jobs = [await submit(server) for _ in range(5)]

    async def come_and_go() -> None:
        call = watch(server.jobs, chance.choice(jobs), rows=chance.random() < 0.5)
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(rest(call), return_exceptions=True)

    await asyncio.gather(*(come_and_go() for _ in range(200)))
    await until(lambda: server.application._gate.running == 0)
    assert watched(server) == {}
    await until(lambda: not server.application._hints.followed)


async def test_watchers_at_every_process_of_a_server_see_the_same_end(several: Several, redis: Redis, until):
    async with stubs(several.address, 12) as connected:
        reply = await connected[0].Submit(jobs_pb2.SubmitRequest(model=MODEL, count=3))
        calls = [await begin(stub, reply.job.id) for stub in connected for _ in range(10)]
        assert all(several.connections(pid) for pid in several.pids())
        await connected[0].Cancel(jobs_pb2.CancelJobRequest(id=reply.job.id))
        events = await asyncio.gather(*(rest(call) for call in calls))
    assert {seen[-1].job.state for seen in events} == {jobs_pb2.JOB_STATE_CANCELLED}
