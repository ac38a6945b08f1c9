import asyncio
from threading import Event

import pytest
from redis.asyncio import Redis

from server.oneshot.pace import Pace
from smalti.errors import RedisUnfit, SettingsInvalid
from smalti.runtime.repository import Model, ModelRepository
from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2
from tests.server.conftest import Running, refused
from tests.server.hand_worker import HandWorker
from tests.server.toys import write_vae

VAE = types_pb2.ModelVersion(name="toy-vae")


def failed(server: Running) -> list[str]:
    """The background tasks that failed: one would end the process."""
    tasks = server.application._background
    return [task.get_name() for task in tasks if task.done() and task.exception()]


async def test_a_stop_answers_running_requests_and_refuses_later_ones(server: Running, monkeypatch, until):
    monkeypatch.setattr(Pace, "is_quick", lambda *_: False)  # in the pool, which is held here
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


async def test_a_request_whose_client_went_away_is_not_computed(server: Running, monkeypatch, until):
    monkeypatch.setattr(Pace, "is_quick", lambda *_: False)  # in the pool, which is held here
    held = Event()
    for _ in range(2):
        server.application.catalogue._pool.submit(held.wait)
    calls = [server.images.Draw(images_pb2.DrawRequest(model=VAE)) for _ in range(5)]
    running = [asyncio.ensure_future(call) for call in calls]
    await until(lambda: server.application._gate.running == 5)
    for call in calls:
        call.cancel()
    await until(lambda: server.application._gate.running == 0)  # although the pool is blocked
    held.set()
    await asyncio.gather(*running, return_exceptions=True)
    assert (await server.images.Draw(images_pb2.DrawRequest(model=VAE, count=2))).seed >= 0


async def test_a_model_that_may_still_be_loaded_is_unavailable_and_not_unknown(
    start_server, repository, monkeypatch, until
):
    write_vae(repository, version=2)
    load, held = ModelRepository.load, Event()

    def load_late(self: ModelRepository, name: str, version: int | None = None) -> Model:
        if (name, version) != ("toy-vae", 1):
            held.wait()
        return load(self, name, version)

    monkeypatch.setattr(ModelRepository, "load", load_late)
    vae_1, vae_2 = (types_pb2.ModelVersion(name="toy-vae", version=version) for version in (1, 2))
    async with start_server(ready=None) as server:
        calls = [
            lambda: server.jobs.Submit(SUBMIT),
            lambda: server.images.Draw(images_pb2.DrawRequest(model=VAE)),
            lambda: server.images.Draw(images_pb2.DrawRequest(model=vae_2)),
            lambda: server.models.Get(models_pb2.GetModelRequest(name="toy-gan")),
            lambda: server.models.List(models_pb2.ListModelsRequest()),
        ]
        try:
            for call in calls:
                refusal = await refused(call())
                assert (refusal.code, refusal.retry_seconds) == ("UNAVAILABLE", 1.0)
                assert "still loading its models" in refusal.message
        finally:
            held.set()
        await until(lambda: _jobs_are(server, "SERVING"))
        for call in calls:
            await call()
        assert (await server.images.Draw(images_pb2.DrawRequest(model=vae_1))).model.version == 1
        assert (await server.images.Draw(images_pb2.DrawRequest(model=VAE))).model.version == 2
        unknown = server.models.Get(models_pb2.GetModelRequest(name="toy-gin"))
        assert (await refused(unknown)).code == "NOT_FOUND"


async def test_a_foreign_key_in_redis_stops_jobs_and_is_named_until_it_is_gone(
    start_server, own_redis, until, monkeypatch
):
    monkeypatch.setattr("smalti.jobs.housekeeping._CHECK_SECONDS", 0.1)  # 2 s in production
    often = start_server(redis_url=own_redis.url, lease_seconds=0.4)
    async with Redis(port=own_redis.port) as redis, often as server:
        await redis.set("smalti:{default}:bell", "x")
        await until(lambda: _jobs_are(server, "NOT_SERVING"), seconds=5)
        refusal = await refused(server.jobs.Submit(SUBMIT))
        assert (refusal.code, "'smalti:{default}:bell'" in refusal.message) == ("UNAVAILABLE", True)
        await redis.delete("smalti:{default}:bell")
        await until(lambda: _jobs_are(server, "SERVING"), seconds=5)
        assert not failed(server)


async def test_a_second_server_cannot_share_a_port(server: Running, start_server):
    with pytest.raises(SettingsInvalid, match="Address already in use"):
        async with start_server(listen=server.address):
            pytest.fail("it listens")


async def test_a_redis_that_is_unfit_from_the_start_ends_the_server(start_server, own_redis):
    async with Redis(port=own_redis.port) as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(RedisUnfit, match="noeviction"):
        async with start_server(redis_url=own_redis.url):
            pytest.fail("it is ready")


async def _jobs_are(server: Running, status: str) -> bool:
    return await server.status("smalti.v1.JobService") == status


SUBMIT = jobs_pb2.SubmitRequest(model=types_pb2.ModelVersion(name="toy-pixel-rnn"), count=1)


async def test_submits_are_refused_after_redis_was_quickly_restarted_unfit_until_it_is_repaired(
    start_server, own_redis, until
):
    async with Redis(port=own_redis.port) as redis, start_server(redis_url=own_redis.url) as server:
        for _ in range(3):  # given connections to the one that was fit
            await server.jobs.Submit(SUBMIT)
        own_redis.restart_with(maxmemory_policy="allkeys-lru")
        refusals = [await refused(server.jobs.Submit(SUBMIT)) for _ in range(12)]
        assert {refusal.code for refusal in refusals} == {"UNAVAILABLE"}
        assert "noeviction" in refusals[-1].message
        await redis.config_set("maxmemory-policy", "noeviction")
        await until(lambda: _jobs_are(server, "SERVING"))
        assert (await server.jobs.Submit(SUBMIT)).job.id


@pytest.mark.parametrize(
    ("option", "bad", "good"),
    [
        ("appendonly", "no", "yes"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
        ("maxmemory", "0", "100mb"),
    ],
)
async def test_a_redis_that_turns_unfit_stops_jobs_only_until_it_is_repaired(
    start_server, own_redis, until, monkeypatch, option, bad, good
):
    monkeypatch.setattr("smalti.jobs.housekeeping._CHECK_SECONDS", 0.1)  # 2 s in production
    often = start_server(redis_url=own_redis.url, lease_seconds=0.4)
    async with Redis(port=own_redis.port) as redis, often as server:
        await redis.config_set(option, bad)
        await until(lambda: _jobs_are(server, "NOT_SERVING"), seconds=5)
        refusal = await refused(server.jobs.Submit(SUBMIT))
        assert (refusal.code, f"set {option}" in refusal.message) == ("UNAVAILABLE", True)
        assert (await server.images.Draw(images_pb2.DrawRequest(model=VAE, count=1))).images
        await redis.config_set(option, good)
        await until(lambda: _jobs_are(server, "SERVING"), seconds=5)
        await server.jobs.Submit(SUBMIT)


@pytest.mark.parametrize("is_new", [False, True])
async def test_a_full_redis_refuses_only_new_jobs_for_a_new_and_a_reconnecting_server(
    start_server, own_redis, until, is_new
):
    async with start_server(redis_url=own_redis.url) as first:
        ids = [(await first.jobs.Submit(SUBMIT)).job.id for _ in range(2)]
        digests = [model.digest for model in first.application.catalogue.models()]
        await HandWorker(first.queue.workers, digests).draw_all(1)
        own_redis.restart_with(maxmemory="400kb")  # less than it uses
        if not is_new:
            await frees_memory(first, ids, until)
    if is_new:
        async with start_server(redis_url=own_redis.url) as second:
            await frees_memory(second, ids, until)


async def frees_memory(server: Running, ids: list[str], until) -> None:
    """Check that requests which read or free memory are answered, and only those that need memory are refused."""
    await until(lambda: _jobs_are(server, "SERVING"))
    done, waiting = ids
    assert (await refused(server.jobs.Submit(SUBMIT))).code == "RESOURCE_EXHAUSTED"
    assert (await server.jobs.Get(jobs_pb2.GetJobRequest(id=done))).done == 1
    assert len((await server.jobs.List(jobs_pb2.ListJobsRequest())).jobs) == 2
    assert [result.index async for result in server.jobs.Results(jobs_pb2.ResultsRequest(id=done))] == [0]
    await server.jobs.Cancel(jobs_pb2.CancelJobRequest(id=waiting))
    events = [event async for event in server.jobs.Watch(jobs_pb2.WatchRequest(id=waiting))]
    assert events[-1].job.state == jobs_pb2.JOB_STATE_CANCELLED
    for job_id in ids:
        await server.jobs.Delete(jobs_pb2.DeleteJobRequest(id=job_id))
    assert await server.status() == "SERVING"  # housekeeping goes on


async def test_a_server_outlives_a_demotion_of_redis_while_somebody_watches(start_server, own_redis, until):
    often = start_server(redis_url=own_redis.url, lease_seconds=0.4)
    async with Redis(port=own_redis.port) as redis, often as server:
        job = (await server.jobs.Submit(SUBMIT)).job
        watching = asyncio.ensure_future(refused(server.jobs.Watch(jobs_pb2.WatchRequest(id=job.id))))
        await until(lambda: redis_reads_block(redis))
        await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        await until(lambda: _jobs_are(server, "NOT_SERVING"))
        await redis.execute_command("REPLICAOF", "NO", "ONE")
        await until(lambda: _jobs_are(server, "SERVING"))
        await server.jobs.Cancel(jobs_pb2.CancelJobRequest(id=job.id))
        watching.cancel()
        [*_, last] = [event async for event in server.jobs.Watch(jobs_pb2.WatchRequest(id=job.id))]
        assert last.job.state == jobs_pb2.JOB_STATE_CANCELLED
        assert not failed(server)


async def redis_reads_block(redis: Redis) -> bool:
    return int((await redis.info("clients"))["blocked_clients"]) > 0
