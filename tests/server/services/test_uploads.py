"""Jobs that complete many pictures: uploaded in a stream, checked one by one, queued with all of them or not at all."""

import asyncio
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np
import pytest

from server.queued import uploading
from smalti import media
from smalti.errors import PicturesFull
from smalti.v1 import images_pb2, jobs_pb2, types_pb2
from tests.server.conftest import Running, refused
from tests.server.hand_worker import HandWorker

MODEL = types_pb2.ModelVersion(name="toy-pixel-rnn")
HEIGHT, WIDTH, COLOURS = 6, 5, 7


def indices(number: int) -> bytes:
    return bytes((number + place) % COLOURS for place in range(HEIGHT * WIDTH))


def completion(number: int, **keep) -> images_pb2.Completion:
    pixels = types_pb2.Pixels(height=HEIGHT, width=WIDTH, indices=indices(number))
    return images_pb2.Completion(image=types_pb2.Image(pixels=pixels), **keep or {"rows": number % HEIGHT})


def header(count: int, **given: Any) -> jobs_pb2.SubmitCompletionsRequest:
    fields: dict[str, Any] = {"model": MODEL, "count": count}
    return jobs_pb2.SubmitCompletionsRequest(job=jobs_pb2.SubmitRequest(**fields | given))


def portion(
    *completions: images_pb2.Completion, names: tuple[str, ...] = ()
) -> jobs_pb2.SubmitCompletionsRequest:
    return jobs_pb2.SubmitCompletionsRequest(
        completions=jobs_pb2.Completions(completions=completions, names=names)
    )


async def submit(server: Running, *messages: jobs_pb2.SubmitCompletionsRequest) -> jobs_pb2.Job:
    reply: jobs_pb2.SubmitResponse = await server.jobs.SubmitCompletions(iter(messages))
    return reply.job


async def listed(server: Running) -> list[jobs_pb2.Job]:
    return list((await server.jobs.List(jobs_pb2.ListJobsRequest())).jobs)


async def keys_of_redis(server: Running) -> int:
    return len([name async for name in server.queue.store.redis.scan_iter("*kept:*")])


async def test_each_sample_gets_its_own_picture_and_is_drawn_as_if_it_were_submitted_alone(
    server: Running, hand_worker: HandWorker
):
    masked = completion(9, mask=bytes(place % 3 == 0 for place in range(HEIGHT * WIDTH)))
    pictures = completion(0), completion(1), masked, completion(2), completion(5)
    upload = header(5, seed=7, first_index=3), portion(*pictures[:2]), portion(masked), portion(*pictures[3:])
    job = await submit(server, *upload)
    together = await hand_worker.claim(5)
    alone = []
    for place, each in enumerate(pictures):
        request = jobs_pb2.SubmitRequest(model=MODEL, seed=7, first_index=3 + place, completion=each)
        await server.jobs.Submit(request)
        alone += await hand_worker.claim()
    assert (job.count, job.seed, job.first_index) == (5, 7, 3)
    assert [claim.request.kept for claim in together] == [claim.request.kept for claim in alone]
    numbers = [claim.request.first_index + claim.index for claim in together]
    assert numbers == [claim.request.first_index for claim in alone]
    kept = np.frombuffer(together[1].request.kept, "<i4").reshape(HEIGHT, WIDTH)
    assert (kept[:1].ravel() == list(indices(1)[:WIDTH])).all()
    assert (kept[1:] == -1).all()


async def test_colours_that_moved_are_told_for_all_pictures_together(server: Running):
    model = next(each for each in server.application.catalogue.models() if each.manifest.name == MODEL.name)
    strange = media.encode(
        media.picture(indices(0), height=HEIGHT, width=WIDTH, palette=["#010203"] * COLOURS)
    )
    same = media.png(indices(0), height=HEIGHT, width=WIDTH, palette=model.manifest.palette)
    pictures = [
        images_pb2.Completion(image=types_pb2.Image(png=png), rows=1) for png in (strange, same, strange)
    ]
    reply = await server.jobs.SubmitCompletions(iter([header(3), portion(*pictures)]))
    single = await server.jobs.Submit(jobs_pb2.SubmitRequest(model=MODEL, completion=pictures[0]))
    assert reply.colour_change.moved_pixels == 2 * single.colour_change.moved_pixels > 0
    assert reply.colour_change.largest_distance == single.colour_change.largest_distance


@pytest.mark.parametrize("number", [1, 64, 100])
async def test_a_picture_that_cannot_be_used_is_named_and_nothing_is_queued(server: Running, number: int):
    pictures = [completion(place) for place in range(100)]
    pictures[number - 1] = images_pb2.Completion(image=types_pb2.Image(png=b"no picture"), rows=1)
    names = tuple(f"cats/{place}.png" for place in range(100))
    upload = [header(100)] + [
        portion(*pictures[start : start + 10], names=names[start : start + 10]) for start in range(0, 100, 10)
    ]
    refusal = await refused(server.jobs.SubmitCompletions(iter(upload)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "IMAGE_REFUSED")
    assert refusal.message.startswith(f"Picture {number} of 100 (cats/{number - 1}.png): ")
    assert refusal.message.endswith("Nothing was queued.")
    assert (await listed(server), await keys_of_redis(server)) == ([], 0)


@pytest.mark.parametrize(
    ("messages", "field", "said"),
    [
        ([], "content", "The first message describes the job"),
        ([portion(completion(0))], "content", "The first message describes the job"),
        ([header(0)], "job.count", "how many pictures"),
        ([header(1, completion=completion(0))], "job.completion", "after the first"),
        ([header(1), header(1)], "content", "After the first message"),
        ([header(2), portion(completion(0))], "job.count", "a count of 2, and 1 pictures came"),
        ([header(1), portion(completion(0), completion(1))], "job.count", "and more than 1 pictures came"),
        (
            [header(2), portion(completion(0), completion(1), names=("a",))],
            "completions.names",
            "as many names",
        ),
        (
            [header(1), portion(completion(0, rows=7))],
            "completion.rows",
            "Picture 1 of 1: The image has 6 rows",
        ),
        (
            [header(1), portion(completion(0, mask=b"\2"))],
            "completion.mask",
            "Picture 1 of 1: The mask has 1",
        ),
        ([header(1), portion(images_pb2.Completion(rows=1))], "completion.image", "The image is missing"),
        (
            [header(300), portion(*map(completion, range(300)))],
            "completions.completions",
            "at most 256 pictures",
        ),
        ([header(1, temperature=99)], "temperature", "temperature"),
        ([header(2_000_000)], "job.count", "An upload has at most"),
    ],
)
async def test_an_upload_that_is_wrong_is_refused_and_nothing_is_queued(
    server: Running, messages, field, said
):
    refusal = await refused(server.jobs.SubmitCompletions(iter(messages)))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", [field])
    assert said in refusal.message
    assert (await listed(server), await keys_of_redis(server)) == ([], 0)


async def test_an_unknown_model_is_refused_before_a_picture_comes(server: Running):
    message = header(5, model=types_pb2.ModelVersion(name="nobody"))
    refusal = await refused(server.jobs.SubmitCompletions(iter([message])))
    assert refusal.reason == "MODEL_NOT_FOUND"


async def test_an_upload_sent_again_is_the_same_job_and_other_pictures_are_a_conflict(server: Running):
    def upload(*numbers: int):
        return (header(2, request_id="again"), portion(*map(completion, numbers)))

    jobs = await asyncio.gather(*(submit(server, *upload(1, 2)) for _ in range(5)))
    assert len({(job.id, job.seed) for job in jobs}) == 1
    refusal = await refused(server.jobs.SubmitCompletions(iter(upload(2, 1))))
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "REQUEST_CONFLICT")
    assert (len(await listed(server)), await keys_of_redis(server)) == (1, 1)


async def test_an_upload_that_breaks_off_queues_nothing_and_gives_its_room_back(server: Running, until):
    call = server.jobs.SubmitCompletions()
    await call.write(header(3))
    await call.write(portion(completion(0)))
    uploads = server.application._uploads
    await until(lambda: uploads.taken > 0)
    call.cancel()
    await until(lambda: uploads.taken == 0)
    assert (await listed(server), await keys_of_redis(server)) == ([], 0)


async def test_an_upload_that_falls_silent_is_ended(server: Running, monkeypatch):
    monkeypatch.setattr(uploading, "_SILENCE_SECONDS", 0.1)
    call = server.jobs.SubmitCompletions()
    await call.write(header(3))
    refusal = await refused(call)
    assert (refusal.code, "No picture came" in refusal.message) == ("DEADLINE_EXCEEDED", True)


async def test_many_uploads_at_once_are_refused_with_a_delay_and_one_larger_than_all_for_good(
    start_server, until
):
    picture_bytes = 4 + HEIGHT * WIDTH + 40
    async with start_server(max_upload_bytes=40 * picture_bytes) as server:
        first = server.jobs.SubmitCompletions()
        await first.write(header(20))
        await until(lambda: server.application._uploads.taken > 0)
        busy = await refused(server.jobs.SubmitCompletions(iter([header(11)])))
        assert (busy.code, busy.reason, busy.retry_seconds) == ("RESOURCE_EXHAUSTED", "PICTURES_FULL", 1)
        assert (await submit(server, header(1), portion(completion(0)))).count == 1
        refusal = await refused(server.jobs.SubmitCompletions(iter([header(21)])))
        assert "at most 20 pictures of this size, not 21" in refusal.message
        first.cancel()


async def test_pictures_wait_for_their_turn_while_the_server_is_busy_with_others(start_server, until):
    async with start_server(max_picture_pixels=HEIGHT * WIDTH) as server:
        room = server.application._pictures._room
        with ExitStack() as held:
            with suppress(PicturesFull):
                while True:  # given a room without place for one more picture
                    held.enter_context(room.take(HEIGHT * WIDTH))
            upload = asyncio.ensure_future(submit(server, header(1), portion(completion(0))))
            await until(lambda: server.application._uploads.taken > 0)
            await server.status()
            assert not upload.done()
        assert (await upload).count == 1


async def test_a_queue_without_room_refuses_before_the_pictures_come(start_server):
    async with start_server(max_queued_jobs=1) as server:
        await submit(server, header(1), portion(completion(0)))
        refusal = await refused(server.jobs.SubmitCompletions(iter([header(5)])))
        assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
