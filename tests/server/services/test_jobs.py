import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from smalti.client import AsyncClient
from smalti.errors import InvalidRequest, ModelNotFound
from smalti.runtime.manifest import MANIFEST
from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2
from tests.server.conftest import Running, refused
from tests.server.hand_worker import LOG_PROBABILITY, HandWorker
from tests.toy_model import Toy, write_toy_model

MODEL = types_pb2.ModelVersion(name="toy-pixel-rnn")
HEIGHT, WIDTH, COLOURS = 6, 5, 7
RAW = types_pb2.IMAGE_FORMAT_PIXELS


def submission(**given) -> jobs_pb2.SubmitRequest:
    return jobs_pb2.SubmitRequest(**{"model": MODEL} | given)


async def submit(server: Running, **given) -> jobs_pb2.Job:
    reply: jobs_pb2.SubmitResponse = await server.jobs.Submit(submission(**given))
    return reply.job


async def results(server: Running, job_id: str, **given) -> list[jobs_pb2.SampleResult]:
    call = server.jobs.Results(jobs_pb2.ResultsRequest(id=job_id, format=RAW, **given))
    return [result async for result in call]


def picture() -> types_pb2.Image:
    indices = bytes(i % COLOURS for i in range(HEIGHT * WIDTH))
    return types_pb2.Image(pixels=types_pb2.Pixels(height=HEIGHT, width=WIDTH, indices=indices))


async def forced_of(server: Running, **completion) -> np.ndarray:
    """The forced pixels (HEIGHT, WIDTH) that a worker gets for this completion."""
    given = images_pb2.Completion(**{"image": picture()} | completion)
    await submit(server, completion=given)
    worker = HandWorker(
        server.queue.workers, [model.digest for model in server.application.catalogue.models()]
    )
    [claim] = await worker.claim()
    forced = claim.request.kept
    return np.frombuffer(forced, "<i4").reshape(HEIGHT, WIDTH)


async def test_a_job_has_the_requested_class_or_is_standard(server: Running):
    classes = jobs_pb2.JobClass.values()
    jobs = [await submit(server, job_class=job_class) for job_class in classes]
    assert [job.job_class for job in jobs] == [jobs_pb2.JOB_CLASS_STANDARD, *classes[1:]]


async def test_a_submitted_job_is_described(server: Running):
    job = await submit(server, count=3, seed=7, first_index=2, temperature=0.5)
    assert (job.count, job.seed, job.first_index, job.temperature) == (3, 7, 2, 0.5)
    assert (job.model.name, job.model.version, job.height, job.width) == ("toy-pixel-rnn", 1, HEIGHT, WIDTH)
    assert job.state == jobs_pb2.JOB_STATE_QUEUED
    assert job.reason == "NO_WORKER_FOR_MODEL"
    assert job.created.seconds > 0
    assert not job.HasField("started")
    assert await server.jobs.Get(jobs_pb2.GetJobRequest(id=job.id)) == job


async def test_the_server_chooses_count_temperature_and_seed_if_they_are_missing(server: Running):
    first, second = await submit(server), await submit(server)
    assert (first.count, first.temperature) == (1, 1.0)
    assert first.seed != second.seed
    assert first.id != second.id


async def test_a_request_sent_again_is_the_same_job_even_without_a_seed(server: Running):
    calls = [submit(server, request_id="again", count=2) for _ in range(20)]
    jobs = await asyncio.gather(*calls)
    assert len({(job.id, job.seed) for job in jobs}) == 1


async def test_a_request_id_used_for_something_else_is_a_conflict(server: Running):
    await submit(server, request_id="again", count=2)
    refusal = await refused(server.jobs.Submit(submission(request_id="again", count=3)))
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "REQUEST_CONFLICT")


async def test_results_are_the_finished_samples_in_order(server: Running, hand_worker: HandWorker):
    job = await submit(server, count=5)
    await hand_worker.draw_all()
    found = await results(server, job.id)
    assert [result.index for result in found] == [0, 1, 2, 3, 4]
    assert [set(result.image.pixels.indices) for result in found] == [{0}, {1}, {2}, {0}, {1}]
    assert {result.log_probability for result in found} == {LOG_PROBABILITY}
    assert {result.fingerprint for result in found} == {"by-hand"}
    assert [result.index for result in await results(server, job.id, start=1, limit=2)] == [1, 2]
    assert await results(server, job.id, start=2**63) == []


async def test_results_come_as_png_by_default(server: Running, hand_worker: HandWorker):
    job = await submit(server)
    await hand_worker.draw_all()
    [result] = [each async for each in server.jobs.Results(jobs_pb2.ResultsRequest(id=job.id))]
    assert result.image.png.startswith(b"\x89PNG")


async def test_a_sample_that_failed_has_its_error_and_no_image(server: Running, hand_worker: HandWorker):
    job = await submit(server)
    [claim] = await hand_worker.claim()
    await hand_worker.fail(claim, "NaN came out.")
    [result] = await results(server, job.id)
    assert (result.error, result.HasField("image")) == ("NaN came out.", False)
    assert (await server.jobs.Get(jobs_pb2.GetJobRequest(id=job.id))).state == jobs_pb2.JOB_STATE_FAILED


async def test_pages_list_every_job_once_newest_first(server: Running):
    submitted = [(await submit(server)).id for _ in range(5)]
    listed, token = [], ""
    while True:
        page = await server.jobs.List(jobs_pb2.ListJobsRequest(page_size=2, page_token=token))
        listed += [job.id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert listed == submitted[::-1]


async def test_jobs_are_listed_by_state_model_name_and_labels(server: Running, hand_worker: HandWorker):
    old = await submit(server, name="old", labels={"run": "7", "who": "me"})
    await hand_worker.draw_all()
    new = await submit(server, name="new", labels={"run": "7"})
    assert (new.name, dict(new.labels)) == ("new", {"run": "7"})
    for asked, expected in (
        ({"states": [jobs_pb2.JOB_STATE_SUCCEEDED]}, [old.id]),
        ({"states": [jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_QUEUED]}, [new.id, old.id]),
        ({"model": "toy-pixel-rnn", "labels": {"run": "7"}}, [new.id, old.id]),
        ({"labels": {"run": "7", "who": "me"}}, [old.id]),
        ({"name": "new"}, [new.id]),
        ({"model": "other"}, []),
    ):
        page = await server.jobs.List(jobs_pb2.ListJobsRequest(**asked))
        assert [job.id for job in page.jobs] == expected, asked


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": "x" * 129}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"-x": "x"}}, "labels"),
        ({"labels": {"k" * 64: "x"}}, "labels"),
        ({"labels": {"k": "\x1b[31m"}}, "labels"),
        ({"labels": {"k": "v" * 129}}, "labels"),
        ({"labels": {f"k{i}": "v" for i in range(33)}}, "labels"),
    ],
)
async def test_notes_that_cannot_be_are_refused(server: Running, given, field):
    refusal = await refused(server.jobs.Submit(submission(**given)))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])


@pytest.mark.parametrize("state", [0, 99])
async def test_a_state_that_does_not_exist_cannot_be_asked_for(server: Running, state):
    refusal = await refused(server.jobs.List(jobs_pb2.ListJobsRequest(states=[state])))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["states"])


async def test_cancelling_then_deleting_forgets_a_job(server: Running):
    job = await submit(server)
    refusal = await refused(server.jobs.Delete(jobs_pb2.DeleteJobRequest(id=job.id)))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "JOB_NOT_FINISHED")
    cancelled = await server.jobs.Cancel(jobs_pb2.CancelJobRequest(id=job.id))
    assert cancelled.state == jobs_pb2.JOB_STATE_CANCELLED
    await server.jobs.Delete(jobs_pb2.DeleteJobRequest(id=job.id))
    refusal = await refused(server.jobs.Get(jobs_pb2.GetJobRequest(id=job.id)))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "JOB_NOT_FOUND")


async def test_a_job_that_has_not_ended_at_its_deadline_fails_and_keeps_its_results(
    server: Running, hand_worker: HandWorker, until
):
    job = await submit(server, count=2, deadline=Duration(seconds=1))
    assert job.deadline.ToMilliseconds() == job.created.ToMilliseconds() + 1000
    [claim, _] = await hand_worker.claim(2)
    await hand_worker.draw(claim, first_row=0, rows=claim.request.rows)
    stopping = await until(lambda: overdue(server, job.id))  # by the clock of Redis
    assert stopping.state == jobs_pb2.JOB_STATE_CANCELLING
    await hand_worker.leave()
    ended = await server.jobs.Get(jobs_pb2.GetJobRequest(id=job.id))
    assert (ended.state, ended.reason) == (jobs_pb2.JOB_STATE_FAILED, "DEADLINE_EXCEEDED")
    assert [result.index for result in await results(server, job.id)] == [claim.index]


async def test_a_paused_job_waits_until_it_is_resumed(server: Running, hand_worker: HandWorker):
    job = await submit(server, count=2)
    paused = await server.jobs.Pause(jobs_pb2.PauseJobRequest(id=job.id))
    assert (paused.state, await hand_worker.claim()) == (jobs_pb2.JOB_STATE_PAUSED, [])
    resumed = await server.jobs.Resume(jobs_pb2.ResumeJobRequest(id=job.id))
    assert (resumed.state, await hand_worker.draw_all()) == (jobs_pb2.JOB_STATE_QUEUED, 2)
    refusal = await refused(server.jobs.Pause(jobs_pb2.PauseJobRequest(id=job.id)))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "JOB_OVER")


async def overdue(server: Running, job_id: str) -> jobs_pb2.Job | None:
    job: jobs_pb2.Job = await server.jobs.Get(jobs_pb2.GetJobRequest(id=job_id))
    return job if job.reason == "DEADLINE_EXCEEDED" else None


@pytest.mark.parametrize(
    "deadline",
    [Duration(), Duration(seconds=-1), Duration(seconds=10**10), Duration(seconds=1, nanos=-1)],
)
async def test_a_deadline_that_cannot_be_is_refused(server: Running, deadline: Duration):
    refusal = await refused(server.jobs.Submit(submission(deadline=deadline)))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", ["deadline"])


async def test_completing_by_rows_keeps_only_those_rows(server: Running):
    forced = await forced_of(server, rows=2)
    given = (np.arange(HEIGHT * WIDTH) % COLOURS).reshape(HEIGHT, WIDTH)
    assert (forced[:2] == given[:2]).all()
    assert (forced[2:] == -1).all()


async def test_completing_by_mask_keeps_what_the_mask_says(server: Running):
    mask = bytes(i % 3 == 0 for i in range(HEIGHT * WIDTH))
    forced = (await forced_of(server, mask=mask)).reshape(-1)
    assert [pixel != -1 for pixel in forced] == [bool(keep) for keep in mask]
    assert forced[3] == 3


@pytest.mark.parametrize(
    ("completion", "field"),
    [
        ({"image": picture()}, "completion.keep"),
        ({"image": picture(), "rows": HEIGHT + 1}, "completion.rows"),
        ({"image": picture(), "mask": b"\1"}, "completion.mask"),
        ({"image": picture(), "mask": bytes([2] * HEIGHT * WIDTH)}, "completion.mask"),
        ({"rows": 1}, "completion.image"),
        (
            {"image": types_pb2.Image(pixels=types_pb2.Pixels(height=1, width=1, indices=b"\0")), "rows": 1},
            "completion.image",
        ),
    ],
)
async def test_a_wrong_completion_is_refused(server: Running, completion, field):
    request = submission(completion=images_pb2.Completion(**completion))
    refusal = await refused(server.jobs.Submit(request))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"count": 2_000_000}, "count"),
        ({"count": 2**64 - 1}, "first_index"),
        ({"temperature": 0.01}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"job_class": 9}, "job_class"),
        ({"retention": Duration(seconds=-1)}, "retention"),
        ({"retention": Duration(seconds=10**9)}, "retention"),
    ],
)
async def test_a_wrong_submission_is_refused(server: Running, given, field):
    if field == "first_index":
        given = given | {"first_index": 2}
    refusal = await refused(server.jobs.Submit(submission(**given)))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])


async def test_a_retention_that_is_too_long_is_refused_with_the_limit(server: Running):
    async with AsyncClient(server.address) as client:
        for seconds in (1e8, 1e30, float("inf")):
            with pytest.raises(
                InvalidRequest, match=r"^Results are kept for 0 to 604800 s, and no longer\.$"
            ):
                await client.submit("toy-pixel-rnn", retention_seconds=seconds, patience_seconds=0)


async def test_the_limits_of_temperature_are_allowed(server: Running):
    for temperature in (0.05, 10.0):
        assert (await submit(server, temperature=temperature)).temperature == pytest.approx(temperature)


async def test_retention_is_kept(server: Running, hand_worker: HandWorker):
    job = await submit(server, retention=Duration(seconds=100))
    await hand_worker.draw_all()
    ended = await server.jobs.Get(jobs_pb2.GetJobRequest(id=job.id))
    assert ended.expires.seconds - ended.ended.seconds in (99, 100, 101)


async def test_wrong_pages_are_refused(server: Running):
    refusal = await refused(server.jobs.List(jobs_pb2.ListJobsRequest(page_token="'; drop")))
    assert refusal.fields == ["page_token"]
    refusal = await refused(server.jobs.List(jobs_pb2.ListJobsRequest(page_size=501)))
    assert refusal.fields == ["page_size"]


async def test_a_full_queue_gives_a_retry_delay(start_server):
    async with start_server(max_queued_jobs=1) as server:
        await submit(server)
        refusal = await refused(server.jobs.Submit(submission()))
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
    assert refusal.retry_seconds > 0


async def test_while_redis_is_away_jobs_are_unavailable_and_one_shot_requests_go_on(
    start_server, own_redis, until
):
    async with start_server(redis_url=own_redis.url) as server:
        job = await submit(server, request_id="kept")
        own_redis.kill()
        await until(lambda: _is(server, "NOT_SERVING"), seconds=20)
        refusal = await refused(server.jobs.Submit(submission()))
        assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "UNAVAILABLE")
        assert refusal.retry_seconds > 0
        drawn = await server.images.Draw(images_pb2.DrawRequest(model=types_pb2.ModelVersion(name="toy-vae")))
        assert len(drawn.images) == 1
        assert await server.status("smalti.v1.ImageService") == "SERVING"
        assert await server.status("smalti.v1.JobService") == "NOT_SERVING"
        own_redis.start()
        await until(lambda: _is(server, "SERVING"), seconds=20)
        assert (await submit(server, request_id="kept")).id == job.id


async def test_a_server_that_starts_without_redis_answers_one_shot_requests(start_server, own_redis, until):
    own_redis.kill()
    async with start_server(redis_url=own_redis.url, ready="smalti.v1.ImageService") as server:
        assert await server.status() == "NOT_SERVING"
        await server.images.Draw(images_pb2.DrawRequest(model=types_pb2.ModelVersion(name="toy-gan")))
        assert (await refused(server.jobs.List(jobs_pb2.ListJobsRequest()))).code == "UNAVAILABLE"
        own_redis.start()
        await until(lambda: _is(server, "SERVING"), seconds=20)
        await submit(server)


async def _is(server: Running, status: str) -> bool:
    return await server.status() == status


# A new export replaces the model


async def export_anew(server: Running, repository: Path, toy: Toy) -> None:
    """Replace the first toy by another one, and let the server see it."""
    shutil.rmtree(repository / toy.name, ignore_errors=True)
    write_toy_model(repository, toy)
    await server.application.catalogue.follow()


async def reason_of(server: Running, job_id: str) -> str:
    """The job's reason, which is the same in Get and List."""
    got = await server.jobs.Get(jobs_pb2.GetJobRequest(id=job_id))
    listed = await server.jobs.List(jobs_pb2.ListJobsRequest())
    assert got.reason == next(job.reason for job in listed.jobs if job.id == job_id)
    reason: str = got.reason
    return reason


async def test_a_job_for_an_export_that_was_replaced_says_so_unless_a_worker_still_has_it(
    server: Running, hand_worker: HandWorker, repository: Path
):
    new, begun = await submit(server, count=2), await submit(server, count=2)
    await export_anew(server, repository, Toy(colours=5))
    assert await reason_of(server, new.id) == await reason_of(server, begun.id) == "MODEL_REPLACED"
    await hand_worker.claim(0)  # given a worker that has the old export
    assert await reason_of(server, new.id) == await reason_of(server, begun.id) == ""


async def test_a_running_job_keeps_its_rows_until_its_old_export_is_put_back(
    server: Running, hand_worker: HandWorker, repository: Path, until
):
    job = await submit(server, count=2)
    first, second = await hand_worker.claim(2)
    await hand_worker.draw(first, first_row=0, rows=HEIGHT)
    await hand_worker.draw(second, first_row=0, rows=2)
    await server.queue.workers.leave("hand")  # given that its only worker stops in the middle
    await export_anew(server, repository, Toy(colours=5))
    newer = HandWorker(
        server.queue.workers, [model.digest for model in server.application.catalogue.models()]
    )
    assert await newer.draw_all() == 0  # then no worker draws on with other weights
    assert await reason_of(server, job.id) == "MODEL_REPLACED"
    await export_anew(server, repository, Toy())
    [again] = await hand_worker.claim(2)
    assert len(again.pixels) == 2 * WIDTH
    await hand_worker.draw(again, first_row=2, rows=HEIGHT - 2)
    assert [result.error for result in await results(server, job.id)] == ["", ""]


async def test_a_job_for_a_model_without_workers_waits_even_if_other_models_were_replaced(
    server: Running, repository: Path
):
    write_toy_model(repository, Toy(version=2))
    await server.application.catalogue.follow()
    await export_anew_keeping(server, repository)
    job = await submit(server, model=types_pb2.ModelVersion(name="toy-pixel-rnn", version=2))
    assert await reason_of(server, job.id) == "NO_WORKER_FOR_MODEL"


async def export_anew_keeping(server: Running, repository: Path) -> None:
    """Replace only version 1."""
    shutil.rmtree(repository / "toy-pixel-rnn" / "1")
    write_toy_model(repository, Toy(colours=5))
    await server.application.catalogue.follow()


async def test_a_job_goes_on_when_its_model_is_unloaded(server: Running, hand_worker: HandWorker):
    job = await submit(server)
    await server.models.Unload(models_pb2.UnloadModelRequest(name="toy-pixel-rnn"))
    assert await reason_of(server, job.id) == "NO_WORKER_FOR_MODEL"
    assert await hand_worker.draw_all() == 1
    assert len(await results(server, job.id)) == 1


async def test_results_are_never_painted_in_the_colours_of_another_export(
    server: Running, hand_worker: HandWorker, repository: Path
):
    job = await submit(server)
    await hand_worker.draw_all()
    async with AsyncClient(server.address) as knowing, AsyncClient(server.address) as new:
        [before] = [result async for result in knowing.results(job.id)]
        await export_anew(server, repository, Toy(colours=5))
        assert [before] == [result async for result in knowing.results(job.id)]  # it still has the colours
        with pytest.raises(ModelNotFound, match="was exported again since this was drawn"):
            _ = [result async for result in new.results(job.id)]
    refusal = await refused(server.jobs.Results(jobs_pb2.ResultsRequest(id=job.id)))
    assert "put the old export back, or ask for pixels" in refusal.message
    assert len(await results(server, job.id)) == 1


async def test_an_old_client_shows_a_replaced_model_in_its_new_colours(server: Running, repository: Path):
    async with AsyncClient(server.address) as client:
        before = (await client.draw("toy-vae", seed=1)).images[0]
        manifest = repository / "toy-vae" / "1" / MANIFEST
        manifest.write_text(manifest.read_text().replace("#ff0000", "#123456"))
        await server.application.catalogue.follow()
        after = (await client.draw("toy-vae", seed=1)).images[0]
    assert (before.palette[1], after.palette[1]) == ("#ff0000", "#123456")
