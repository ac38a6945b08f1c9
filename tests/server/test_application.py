import asyncio
import os
import signal
from threading import Event

import pytest
from redis.asyncio import Redis

from smalti.errors import RedisUnfit, SettingsInvalid
from smalti.v1 import images_pb2, jobs_pb2, types_pb2
from tests.server.conftest import Running, refused

VAE = types_pb2.ModelVersion(name="toy-vae")


async def test_requests_that_run_at_a_stop_are_answered_and_later_ones_refused(server: Running, until):
    application, held = server.application, Event()
    for _ in range(2):  # the pool's two threads
        application.catalogue._pool.submit(held.wait)
    calls = [server.images.Draw(images_pb2.DrawRequest(model=VAE)) for _ in range(5)]
    running = [asyncio.ensure_future(call) for call in calls]
    await until(lambda: application._gate.running == 5)
    stopping = asyncio.create_task(application.stop())
    await until(lambda: _refuses(server))
    held.set()
    assert [len(reply.images) for reply in await asyncio.gather(*running)] == [1] * 5
    await asyncio.wait_for(stopping, timeout=5)


async def _refuses(server: Running) -> bool:
    refusal = await refused(server.images.Draw(images_pb2.DrawRequest(), timeout=1))
    return refusal.code == "UNAVAILABLE"


async def test_a_request_whose_client_went_away_is_not_computed(server: Running, until):
    held = Event()
    for _ in range(2):
        server.application.catalogue._pool.submit(held.wait)
    calls = [server.images.Draw(images_pb2.DrawRequest(model=VAE)) for _ in range(5)]
    running = [asyncio.ensure_future(call) for call in calls]
    await until(lambda: server.application._gate.running == 5)
    for call in calls:
        call.cancel()
    await until(lambda: server.application._gate.running == 0)  # although nothing could be computed
    held.set()
    await asyncio.gather(*running, return_exceptions=True)
    assert (await server.images.Draw(images_pb2.DrawRequest(model=VAE, count=2))).seed >= 0


async def test_a_second_server_cannot_share_a_port(server: Running, start_server):
    with pytest.raises(SettingsInvalid, match="Address already in use"):
        async with start_server(listen=server.address):
            pytest.fail("it listens")


async def test_a_redis_that_turns_out_unfit_ends_the_server(start_server, own_redis):
    async with Redis(port=own_redis.port) as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(RedisUnfit, match="noeviction"):
        async with start_server(redis_url=own_redis.url):
            pytest.fail("it is ready")


async def test_a_redis_that_comes_back_unfit_stops_jobs_and_nothing_else(start_server, own_redis, until):
    async with Redis(port=own_redis.port) as redis, start_server(redis_url=own_redis.url) as server:
        await redis.config_set("maxmemory-policy", "allkeys-lru")  # given a change that nobody looks for yet
        os.kill(own_redis.pid, signal.SIGSTOP)
        await until(lambda: _jobs_are(server, "NOT_SERVING"), seconds=30)
        os.kill(own_redis.pid, signal.SIGCONT)  # when Redis was away for a while
        await until(
            lambda: _jobs_are_refused(server, "noeviction")
        )  # then jobs are refused with what to mend
        assert (await server.images.Draw(images_pb2.DrawRequest(model=VAE, count=1))).images
        await redis.config_set("maxmemory-policy", "noeviction")
        await until(lambda: _jobs_are(server, "SERVING"))


async def _jobs_are(server: Running, status: str) -> bool:
    return await server.status("smalti.v1.JobService") == status


async def _jobs_are_refused(server: Running, reason: str) -> bool:
    refusal = await refused(server.jobs.List(jobs_pb2.ListJobsRequest()))
    return refusal.code == "UNAVAILABLE" and reason in refusal.message
