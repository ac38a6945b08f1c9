"""AdminService: the queue for those who run it."""

import pytest

from smalti.v1 import admin_pb2 as pb
from smalti.v1 import jobs_pb2, types_pb2
from tests.server.conftest import Running, refused

MODEL = types_pb2.ModelVersion(name="toy-pixel-rnn")


async def submit(server: Running, count: int = 3) -> jobs_pb2.Job:
    reply: jobs_pb2.SubmitResponse = await server.jobs.Submit(
        jobs_pb2.SubmitRequest(model=MODEL, count=count)
    )
    return reply.job


async def claim(server: Running, worker: str, limit: int):
    digest = server.application.catalogue.get("toy-pixel-rnn", 0).manifest.digest
    return await server.queue.workers.claim(
        worker, sequence=0, digests=[digest], fingerprint="cpu", limit=limit, slots=4
    )


async def test_statistics_show_jobs_workers_and_clients(server: Running):
    await submit(server)
    await claim(server, "anna", 2)
    found = await server.admin.Statistics(pb.StatisticsRequest())
    assert (found.running_jobs, found.ready_samples, found.running_samples) == (1, 1, 2)
    [worker], [client] = found.workers, found.clients
    assert (worker.name, worker.held, worker.slots, len(worker.digests)) == ("anna", 2, 4, 1)
    assert (client.name, client.jobs, client.ready, client.running, client.weight) == ("", 1, 1, 2, 1)


async def test_a_paused_pool_takes_jobs_and_hands_out_none_of_their_samples(server: Running):
    await server.admin.PausePool(pb.PausePoolRequest())
    await submit(server)
    assert await claim(server, "anna", 2) == []
    assert (await server.admin.Statistics(pb.StatisticsRequest())).paused
    await server.admin.ResumePool(pb.ResumePoolRequest())
    assert len(await claim(server, "berta", 2)) == 2


async def test_a_worker_is_drained_by_its_name(server: Running):
    await submit(server)
    await claim(server, "anna", 1)
    await server.admin.DrainWorker(pb.DrainWorkerRequest(worker="anna"))
    assert await server.queue.workers.is_draining("anna")
    refusal = await refused(server.admin.DrainWorker(pb.DrainWorkerRequest(worker="nobody")))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "WORKER_NOT_FOUND")


async def test_a_failed_sample_is_listed_and_drawn_again_in_a_new_job(server: Running, hand_worker):
    job = await submit(server, count=1)
    [claimed] = await hand_worker.claim()
    await hand_worker.fail(claimed, "not a number")
    [dead] = (await server.admin.ListDead(pb.ListDeadRequest(job=job.id))).samples
    assert (dead.job, dead.index, dead.error) == (job.id, 0, "not a number")
    again = (await server.admin.Retry(pb.RetryRequest(job=job.id, index=0))).job
    assert (again.seed, again.first_index, again.state) == (job.seed, 0, jobs_pb2.JOB_STATE_QUEUED)
    refusal = await refused(server.admin.Retry(pb.RetryRequest(job=again.id, index=0)))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["index"])


async def test_a_list_of_too_many_failed_samples_is_refused(server: Running):
    refusal = await refused(server.admin.ListDead(pb.ListDeadRequest(limit=1001)))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["limit"])


async def test_an_audit_says_what_it_repaired(server: Running, redis):
    job = await submit(server)
    assert not (await server.admin.Audit(pb.AuditRequest())).repairs
    await redis.hset(server.queue.store.keys.job(job.id), "done", "1")
    assert dict((await server.admin.Audit(pb.AuditRequest())).repairs) == {"results": 1}


@pytest.mark.parametrize(
    ("rpc", "request_type"),
    [(rpc, getattr(pb, f"{rpc}Request")) for rpc in ("Statistics", "PausePool", "ListDead", "Audit")],
)
async def test_while_redis_is_away_every_call_is_unavailable(start_server, own_redis, rpc, request_type):
    own_redis.kill()
    async with start_server(redis_url=own_redis.url, ready="smalti.v1.ImageService") as server:
        refusal = await refused(getattr(server.admin, rpc)(request_type()))
        assert refusal.code == "UNAVAILABLE"
        own_redis.start()
