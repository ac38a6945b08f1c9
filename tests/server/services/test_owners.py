"""Over gRPC a client reaches its own jobs only, whatever it asks."""

from typing import Any

import grpc
import pytest

from server.caller import ANYONE, Caller
from server.request_ids import KEY
from smalti.jobs.limits import ClientLimits
from smalti.v1 import images_pb2, jobs_pb2, types_pb2
from tests.server.conftest import Running, StartServer, refused
from tests.server.hand_worker import HandWorker

MODEL = types_pb2.ModelVersion(name="toy-pixel-rnn")
RAW = types_pb2.IMAGE_FORMAT_PIXELS
ANNE = Caller(name="anne", groups=frozenset({"inference", "jobs"}))
BEN = Caller(name="ben", groups=frozenset({"inference", "jobs"}))
ADMIN = Caller(name="root", groups=frozenset({"admin"}))
UNKNOWN = "aaaaaaaaaaaa"


class Line:
    """The next RPCs are those of `client`."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.client = ANYONE

    def of(self, client: Caller) -> Any:
        self.client = client
        return self.server.jobs

    async def submit(self, client: Caller, **given: Any) -> jobs_pb2.Job:
        request = jobs_pb2.SubmitRequest(**{"model": MODEL} | given)
        reply: jobs_pb2.SubmitResponse = await self.of(client).Submit(request)
        return reply.job

    async def list(self, asker: Caller, **given: Any) -> list[str]:
        return [job.id for job in (await self.of(asker).List(jobs_pb2.ListJobsRequest(**given))).jobs]


@pytest.fixture
def line(server: Running, monkeypatch: pytest.MonkeyPatch) -> Line:
    line = Line(server)
    for module in ("server.services.jobs", "server.queued.drawing"):
        monkeypatch.setattr(f"{module}.caller", lambda: line.client)
    return line


CALLS = {
    "Get": jobs_pb2.GetJobRequest,
    "Watch": jobs_pb2.WatchRequest,
    "Results": jobs_pb2.ResultsRequest,
    "Cancel": jobs_pb2.CancelJobRequest,
    "Delete": jobs_pb2.DeleteJobRequest,
}


@pytest.mark.parametrize("rpc", CALLS)
@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_job_of_another_client_is_answered_with_the_same_bytes_as_none(
    line: Line, hand_worker: HandWorker, rpc: str, has_ended: bool
) -> None:
    job = await line.submit(ANNE)
    if has_ended:
        await hand_worker.draw_all()
    ask = getattr(line.of(BEN), rpc)
    same = ((KEY, "the-same"),)
    answers = [await bytes_of(ask(CALLS[rpc](id=each), metadata=same)) for each in (job.id, UNKNOWN)]
    theirs, none = [
        [part.replace(each.encode(), b"?") for part in answer]
        for each, answer in zip((job.id, UNKNOWN), answers, strict=True)
    ]
    assert theirs == none
    assert b"NOT_FOUND" in none[0]
    assert (await line.of(ANNE).Get(jobs_pb2.GetJobRequest(id=job.id))).id == job.id


async def bytes_of(call: Any) -> list[bytes]:
    """Everything that a refusal sends."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        _ = [each async for each in call] if hasattr(call, "__aiter__") else await call
    failure = error.value
    trailing = sorted((name, value) for name, value in failure.trailing_metadata() or ())
    parts = [value if isinstance(value, bytes) else value.encode() for _, value in trailing]
    names = [name.encode() for name, _ in trailing]
    return [failure.code().name.encode(), (failure.details() or "").encode(), *names, *parts]


async def test_a_stranger_cannot_join_the_watchers_of_a_job(line: Line, hand_worker: HandWorker) -> None:
    job = await line.submit(ANNE)
    watching = aiter(line.of(ANNE).Watch(jobs_pb2.WatchRequest(id=job.id, rows=True)))
    assert (await anext(watching)).job.client == "anne"
    refusal = await refused(line.of(BEN).Watch(jobs_pb2.WatchRequest(id=job.id, rows=True)))
    assert refusal.code == "NOT_FOUND"
    await hand_worker.draw_all()
    *_, last = [event async for event in watching]
    assert last.job.state == jobs_pb2.JOB_STATE_SUCCEEDED


async def test_each_client_lists_its_own_jobs_and_an_admin_those_of_one_or_all(line: Line) -> None:
    ours, theirs = (await line.submit(ANNE)).id, (await line.submit(BEN)).id
    assert (await line.list(ANNE), await line.list(BEN)) == ([ours], [theirs])
    with pytest.raises(grpc.aio.AioRpcError, match="Only admins see") as refused_list:
        await line.list(BEN, client="anne")
    assert refused_list.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert await line.list(ADMIN) == [theirs, ours]
    assert await line.list(ADMIN, client="anne") == [ours]
    assert await line.list(ADMIN, client="") == []


async def test_an_admin_stops_and_deletes_the_job_of_another(line: Line) -> None:
    job = await line.submit(ANNE)
    assert (await line.of(ADMIN).Cancel(jobs_pb2.CancelJobRequest(id=job.id))).client == "anne"
    await line.of(ADMIN).Delete(jobs_pb2.DeleteJobRequest(id=job.id))
    assert await line.list(ANNE) == []


async def test_a_streamed_drawing_belongs_to_its_client(line: Line, until: Any) -> None:
    line.client = ANNE
    call = line.server.images.DrawStream(images_pb2.DrawStreamRequest(model=MODEL, format=RAW))
    job_id = (await anext(aiter(call))).started.job_id
    assert (await refused(line.of(BEN).Cancel(jobs_pb2.CancelJobRequest(id=job_id)))).code == "NOT_FOUND"
    assert await line.list(ANNE) == [job_id]
    call.cancel()

    async def is_deleted() -> bool:
        return not await line.list(ANNE)

    await until(is_deleted)


async def test_a_client_at_its_limit_is_told_what_to_do(line: Line) -> None:
    small = Caller(name="small", groups=frozenset({"jobs"}), limits=ClientLimits(jobs=1))
    job = await line.submit(small)
    refusal = await refused(line.of(small).Submit(jobs_pb2.SubmitRequest(model=MODEL)))
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED")
    assert refusal.message == ("You have 1 of at most 1 unfinished jobs: wait until one ends, or cancel one.")
    assert refusal.retry_seconds > 0
    await line.of(small).Cancel(jobs_pb2.CancelJobRequest(id=job.id))
    await line.submit(small)


async def test_the_settings_limit_each_client(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.services.jobs.caller", lambda: ANNE)
    submission = jobs_pb2.SubmitRequest(model=MODEL, count=2)
    async with start_server(max_client_pixels=100) as server:
        await server.jobs.Submit(submission)
        refusal = await refused(server.jobs.Submit(submission))
        assert "60 pixels to draw" in refusal.message
    async with start_server(max_client_result_bytes=8_000) as server:
        refusal = await refused(server.jobs.Submit(submission))
        assert "limit of 8000: delete jobs" in refusal.message
    async with start_server(max_result_bytes=8_000) as server:
        refusal = await refused(server.jobs.Submit(submission))
        assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")


async def test_a_damaged_job_is_data_loss_and_the_list_goes_on(line: Line) -> None:
    job, other = await line.submit(ANNE), await line.submit(ANNE)
    store = line.server.queue.store
    await store.redis.hset(store.keys.job(job.id), "count", "two")
    refusal = await refused(line.of(ANNE).Get(jobs_pb2.GetJobRequest(id=job.id)))
    assert (refusal.code, refusal.reason) == ("DATA_LOSS", "JOB_DAMAGED")
    assert (await refused(line.of(BEN).Get(jobs_pb2.GetJobRequest(id=job.id)))).code == "NOT_FOUND"
    assert await line.list(ANNE) == [other.id]
    await line.of(ANNE).Delete(jobs_pb2.DeleteJobRequest(id=job.id))
