"""A client of a server without tokens may give itself a name: whose share its jobs take, and whose limits they meet."""

from typing import Any

import pytest

from smalti.identity import NAME_KEY
from smalti.v1 import images_pb2, jobs_pb2, types_pb2
from tests.server.conftest import Running, StartServer, refused
from tests.server.hand_worker import HandWorker
from tests.server.security.conftest import bearer

MODEL = types_pb2.ModelVersion(name="toy-pixel-rnn")


def named(*names: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a client that names itself."""
    return tuple((NAME_KEY, name) for name in names)


async def submit(server: Running, *metadata: tuple[str, str], **given: Any) -> jobs_pb2.Job:
    request = jobs_pb2.SubmitRequest(**{"model": MODEL} | given)
    reply: jobs_pb2.SubmitResponse = await server.jobs.Submit(request, metadata=metadata)
    return reply.job


def worker_of(server: Running) -> HandWorker:
    return HandWorker(server.queue.workers, [model.digest for model in server.application.catalogue.models()])


async def test_a_job_has_the_name_that_its_client_gave(server: Running) -> None:
    assert (await submit(server, *named("ada"))).client == "ada"
    assert (await submit(server)).client == ""


async def test_clients_with_names_share_the_workers(server: Running) -> None:
    await submit(server, *named("ada"), count=1000)
    job = await submit(server, *named("bob"), count=1)
    worker = worker_of(server)
    claims = [await worker.claim() for _ in range(2)]
    assert job.id in {claim.job for [claim] in claims}


async def test_a_name_protects_nothing(server: Running) -> None:
    job = await submit(server, *named("ada"))
    listed = await server.jobs.List(jobs_pb2.ListJobsRequest(), metadata=named("bob"))
    assert [each.id for each in listed.jobs] == [job.id]
    cancelled = await server.jobs.Cancel(jobs_pb2.CancelJobRequest(id=job.id))
    assert cancelled.state == jobs_pb2.JOB_STATE_CANCELLED


async def test_the_limits_of_clients_hold_for_each_name_and_for_nobody_without_one(
    start_server: StartServer,
) -> None:
    async with start_server(max_client_jobs=1) as server:
        await submit(server, *named("ada"))
        refusal = await refused(submit(server, *named("ada")))
        assert (refusal.code, refusal.message.split(":")[0]) == (
            "RESOURCE_EXHAUSTED",
            "You have 1 of at most 1 unfinished jobs",
        )
        await submit(server, *named("bob"))
        for _ in range(2):
            await submit(server)  # without a name only the limits of the pool hold


async def test_a_streamed_drawing_belongs_to_the_name_too(server: Running) -> None:
    request = images_pb2.DrawStreamRequest(model=MODEL)
    stream = server.images.DrawStream(request, metadata=named("ada"))
    started = await stream.read()
    job = await server.jobs.Get(jobs_pb2.GetJobRequest(id=started.started.job_id))
    assert job.client == "ada"
    stream.cancel()


@pytest.mark.parametrize("names", [[""], ["a b"], ["x" * 65], ["-x"], ["ada", "bob"]])
async def test_what_cannot_be_a_name_is_refused(server: Running, names: list[str]) -> None:
    refusal = await refused(submit(server, *named(*names)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert "client" in refusal.message


async def test_where_tokens_are_asked_for_the_token_alone_says_the_name(guarded: Running) -> None:
    assert (await submit(guarded, *bearer("bob"), *named("ada"))).client == "bob"
