"""A token's client owns its jobs: another one cannot reach them over gRPC."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from smalti.v1 import images_pb2, jobs_pb2, types_pb2
from tests.server.conftest import Running, StartServer, refused
from tests.server.security.conftest import bearer

MODEL = types_pb2.ModelVersion(name="toy-pixel-rnn")
SUBMISSION = jobs_pb2.SubmitRequest(model=MODEL, request_id="one")


EVE = bearer("eve")


@pytest.fixture
def with_limits(tokens_file: Path) -> Path:
    """The file of tokens; eve may have one unfinished job."""
    tokens_file.write_text(tokens_file.read_text() + "[eve.limits]\njobs = 1\n")
    return tokens_file


@pytest.fixture
async def two_clients(start_server: StartServer, with_limits: Path) -> AsyncIterator[Running]:
    """A server that knows bob and eve (jobs), and root (admin, too)."""
    async with start_server(tokens_file=with_limits) as running:
        yield running


async def job_of(server: Running, metadata: Any) -> jobs_pb2.Job:
    reply: jobs_pb2.SubmitResponse = await server.jobs.Submit(SUBMISSION, metadata=metadata)
    return reply.job


async def test_the_name_of_the_token_owns_the_job(two_clients: Running) -> None:
    jobs = two_clients.jobs
    ours, theirs = await job_of(two_clients, bearer("bob")), await job_of(two_clients, EVE)
    assert (ours.client, theirs.client, ours.id != theirs.id) == ("bob", "eve", True)
    for call, request in (
        (jobs.Get, jobs_pb2.GetJobRequest(id=ours.id)),
        (jobs.Watch, jobs_pb2.WatchRequest(id=ours.id)),
        (jobs.Results, jobs_pb2.ResultsRequest(id=ours.id)),
        (jobs.Cancel, jobs_pb2.CancelJobRequest(id=ours.id)),
        (jobs.Delete, jobs_pb2.DeleteJobRequest(id=ours.id)),
    ):
        assert (await refused(call(request, metadata=EVE))).code == "NOT_FOUND"
    listed = await jobs.List(jobs_pb2.ListJobsRequest(), metadata=EVE)
    assert [job.id for job in listed.jobs] == [theirs.id]
    everything = await jobs.List(jobs_pb2.ListJobsRequest(), metadata=bearer("root"))
    assert [job.client for job in everything.jobs] == ["eve", "bob"]
    stopped = await jobs.Cancel(jobs_pb2.CancelJobRequest(id=ours.id), metadata=bearer("root"))
    assert stopped.state == jobs_pb2.JOB_STATE_CANCELLED


async def test_the_limits_in_the_file_of_tokens_hold(two_clients: Running) -> None:
    await job_of(two_clients, EVE)
    submission = jobs_pb2.SubmitRequest(model=MODEL)
    refusal = await refused(two_clients.jobs.Submit(submission, metadata=EVE))
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED")
    await two_clients.jobs.Submit(submission, metadata=bearer("bob"))
    drawing = two_clients.images.DrawStream(images_pb2.DrawStreamRequest(model=MODEL), metadata=EVE)
    assert (await refused(drawing)).reason == "LIMIT_REACHED"
