import asyncio
from typing import Any

import pytest

from smalti.jobs.job import JobClass, JobState, Verdict
from smalti.v1 import images_pb2, types_pb2
from tests.server.conftest import Running, refused
from tests.server.hand_worker import LOG_PROBABILITY, HandWorker

MODEL = types_pb2.ModelVersion(name="toy-pixel-rnn")
HEIGHT, WIDTH = 6, 5


def draw(server: Running, **given):
    usual: dict[str, Any] = {"model": MODEL, "format": types_pb2.IMAGE_FORMAT_PIXELS}
    return server.images.DrawStream(images_pb2.DrawStreamRequest(**usual | given))


async def claimed(hand_worker: HandWorker, until):
    """The sample of the drawing, as soon as there is one."""
    [claim] = await until(hand_worker.claim)
    return claim


async def is_deleted(server: Running) -> bool:
    jobs, _ = await server.queue.clients.list(limit=10)
    return not jobs


async def test_an_image_comes_row_by_row_and_its_job_is_deleted_afterwards(
    server: Running, hand_worker: HandWorker, until
):
    call = draw(server, seed=5, index=9, temperature=0.5)
    started = (await anext(aiter(call))).started
    assert (started.seed, started.height, started.width) == (5, HEIGHT, WIDTH)
    claim = await claimed(hand_worker, until)
    assert (claim.job, claim.request.first_index, claim.request.count) == (started.job_id, 9, 1)
    assert claim.request.temperature == 0.5
    assert claim.request.job_class is JobClass.INTERACTIVE
    await hand_worker.draw(claim, first_row=0, rows=2)
    rows = (await anext(aiter(call))).rows
    assert (rows.first_row, rows.indices) == (0, b"\0" * 2 * WIDTH)
    await hand_worker.draw(claim, first_row=2, rows=4)
    *rest, last = [event async for event in call]
    assert b"".join(event.rows.indices for event in rest) == b"\0" * 4 * WIDTH
    assert last.finished.image.pixels.indices == b"\0" * HEIGHT * WIDTH
    assert last.finished.log_probability == LOG_PROBABILITY
    await until(lambda: is_deleted(server))


async def test_when_the_client_goes_away_the_job_is_cancelled_and_deleted(
    server: Running, hand_worker: HandWorker, until
):
    call = draw(server)
    job_id = (await anext(aiter(call))).started.job_id
    claim = await claimed(hand_worker, until)
    await hand_worker.draw(claim, first_row=0, rows=1)
    call.cancel()

    async def is_cancelled() -> bool:
        return (await server.queue.clients.get(job_id)).state is JobState.CANCELLING

    await until(is_cancelled)
    reply = await hand_worker.look(claim, first_row=1)
    assert reply.verdict is Verdict.CANCELLED
    await until(lambda: is_deleted(server))


async def test_when_the_client_goes_away_before_the_first_row_no_job_stays(server: Running, until):
    call = draw(server)
    await anext(aiter(call))
    call.cancel()
    await until(lambda: is_deleted(server))


async def test_a_deadline_that_passes_cancels_the_drawing(server: Running, until):
    request = images_pb2.DrawStreamRequest(model=MODEL)
    refusal = await refused(server.images.DrawStream(request, timeout=0.5))
    assert refusal.code == "DEADLINE_EXCEEDED"
    await until(lambda: is_deleted(server))


async def test_an_image_that_cannot_be_drawn_says_why(server: Running, hand_worker: HandWorker, until):
    call = draw(server)
    await hand_worker.fail(await claimed(hand_worker, until), "NaN came out.")
    refusal = await refused(call)
    assert (refusal.code, refusal.reason) == ("ABORTED", "SAMPLE_FAILED")
    assert refusal.message == "The image could not be drawn: NaN came out."
    await until(lambda: is_deleted(server))


async def test_a_drawing_whose_job_is_cancelled_says_so(server: Running, hand_worker: HandWorker, until):
    call = draw(server)
    await server.queue.clients.cancel((await anext(aiter(call))).started.job_id)
    assert (await refused(call)).message == "The image could not be drawn: CANCELLED."


@pytest.mark.parametrize("seconds", [0.0, 0.3])  # the job does not change after the first look
async def test_a_drawing_without_a_worker_for_its_model_is_unavailable(
    server: Running, monkeypatch, until, seconds
):
    monkeypatch.setattr("server.queued.drawing._WORKER_SECONDS", seconds)
    refusal = await refused(draw(server))
    assert refusal.code == "UNAVAILABLE"
    assert "No worker draws toy-pixel-rnn" in refusal.message
    await until(lambda: is_deleted(server))


async def test_the_kept_pixels_of_a_drawing_reach_the_worker(server: Running, hand_worker, until):
    pixels = types_pb2.Pixels(height=HEIGHT, width=WIDTH, indices=b"\2" * HEIGHT * WIDTH)
    completion = images_pb2.Completion(image=types_pb2.Image(pixels=pixels), rows=1)
    call = draw(server, completion=completion)
    assert (await anext(aiter(call))).started.colour_change.moved_pixels == 0
    claim = await claimed(hand_worker, until)
    assert claim.request.kept == b"\2\0\0\0" * WIDTH + b"\xff" * 4 * (HEIGHT - 1) * WIDTH
    call.cancel()


async def test_many_streams_cancelled_at_any_moment_leave_no_job(server: Running, until):
    calls = [draw(server) for _ in range(20)]

    async def read_and_leave(number: int) -> None:
        for _ in range(number % 3):
            await asyncio.sleep(0)
        if number % 2:
            await anext(aiter(calls[number]))
        calls[number].cancel()

    await asyncio.gather(*(read_and_leave(number) for number in range(20)))
    await until(lambda: is_deleted(server))
    await until(lambda: not server.application._drawing._background)
    assert await is_deleted(server)


async def test_a_stop_lets_a_drawing_finish_within_the_grace(server: Running, hand_worker: HandWorker, until):
    call = draw(server)
    await anext(aiter(call))
    claim = await claimed(hand_worker, until)
    stopping = asyncio.create_task(server.application.stop())
    await hand_worker.draw(claim, first_row=0, rows=HEIGHT)
    events = [event async for event in call]
    assert events[-1].HasField("finished")
    await stopping


async def test_a_stop_cancels_a_drawing_that_outlasts_the_grace(start_server, until):
    async with start_server(grace_seconds=0.3) as server:
        call = draw(server)
        await anext(aiter(call))
        await server.application.stop()
        assert await is_deleted(server)
        assert (await refused(call)).code in {"UNAVAILABLE", "CANCELLED"}


async def test_drawing_needs_redis(start_server, own_redis):
    own_redis.kill()
    async with start_server(redis_url=own_redis.url, ready="smalti.v1.ImageService") as server:
        refusal = await refused(draw(server))
    assert refusal.code == "UNAVAILABLE"
    assert refusal.retry_seconds > 0
