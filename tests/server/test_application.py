import asyncio
from threading import Event

import pytest
from redis.asyncio import Redis

from smalti.errors import RedisUnfit, SettingsInvalid
from smalti.v1 import images_pb2, types_pb2
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
