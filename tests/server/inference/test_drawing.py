"""The decoupled model `draw`: one response a row, from a job."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton

from smalti.jobs.job import Verdict
from tests.server.inference.test_inferring import given, raw
from tests.server.inference.test_streaming import responses_to

DRAW = "toy-pixel-rnn.draw"
HEIGHT, WIDTH = 6, 5
EMPTY: dict[str, Any] = {"model_name": DRAW, "inputs": [], "raw_input_contents": []}


def drawing(*inputs: Any, **fields: Any) -> dict[str, Any]:
    """One request for a drawing, as the client's streams take it."""
    return {"model_name": DRAW, "inputs": list(inputs)} | fields


async def drawn(client: Any, hand_worker: Any, until: Any, request: dict[str, Any]) -> Any:
    """The responses to a drawing that a worker draws row by row; and what the worker was asked for."""
    answering = asyncio.create_task(responses_to(client, [request]))
    [claim] = await until(hand_worker.claim)
    for row in range(HEIGHT):
        await hand_worker.draw(claim, first_row=row, rows=1)
    return [result for result, _ in await answering], claim.request


async def test_each_row_is_a_response(client, hand_worker, until):
    results, job = await drawn(client, hand_worker, until, drawing(request_id="mine"))
    assert [result.as_numpy("row").tolist() for result in results] == [[row] for row in range(HEIGHT)]
    for result in results:
        assert result.as_numpy("pixels").tolist() == [0] * WIDTH
        assert result.as_numpy("seed").tolist() == [job.seed]
        assert result.get_response().id == "mine"


async def test_the_last_row_is_the_final_response(client, hand_worker, until):
    results, _ = await drawn(client, hand_worker, until, drawing())
    finals = [result.get_response().parameters["triton_final_response"].bool_param for result in results]
    assert finals == [False] * (HEIGHT - 1) + [True]


async def test_an_empty_final_response_follows_if_it_is_asked_for(blocking_client, hand_worker, until):
    answers: list[Any] = []
    await asyncio.to_thread(
        blocking_client.start_stream, lambda result, error: answers.append(error or result)
    )
    blocking_client.async_stream_infer(DRAW, [], request_id="mine", enable_empty_final_response=True)
    await until(hand_worker.draw_all)
    await asyncio.to_thread(blocking_client.stop_stream)
    responses = [answer.get_response() for answer in answers]
    finals = [response.parameters["triton_final_response"].bool_param for response in responses]
    assert finals == [False] * HEIGHT + [True]
    last = responses[-1]
    assert (last.id, list(last.outputs), list(last.raw_output_contents)) == ("mine", [], [])


async def test_seed_temperature_and_first_pixels_reach_the_job(client, hand_worker, until):
    inputs = (
        given("seed", "UINT64", np.array([2**64 - 1], dtype=np.uint64)),
        given("temperature", "FP32", np.array([0.5], dtype=np.float32)),
        given("prefix", "INT64", np.array([1, 2, 3, 4, 5, 6, 0], dtype=np.int64)),
    )
    _, job = await drawn(client, hand_worker, until, drawing(*inputs))
    kept = np.frombuffer(job.kept, dtype="<i4")
    assert (job.seed, job.temperature) == (2**64 - 1, 0.5)
    assert kept.tolist() == [1, 2, 3, 4, 5, 6, 0] + [-1] * (HEIGHT * WIDTH - 7)


async def test_rows_that_come_together_are_still_a_response_each(client, hand_worker, until):
    answering = asyncio.create_task(responses_to(client, [drawing()]))
    await until(hand_worker.draw_all)
    assert len(await answering) == HEIGHT


async def test_only_the_wanted_outputs_come(client, hand_worker, until):
    outputs = [triton.InferRequestedOutput("pixels")]
    results, _ = await drawn(client, hand_worker, until, drawing(outputs=outputs))
    assert [output.name for output in results[0].get_response().outputs] == ["pixels"]


async def test_rows_may_go_into_shared_memory_one_over_the_other(client, hand_worker, until, key):
    await client.register_system_shared_memory("row", key, 8)
    output = triton.InferRequestedOutput("row")
    output.set_shared_memory("row", 8)
    results, _ = await drawn(client, hand_worker, until, drawing(outputs=[output]))
    assert [list(each.get_response().raw_output_contents) for each in results] == [[b""]] * HEIGHT
    assert int.from_bytes((Path("/dev/shm") / key[1:]).read_bytes()[:8], "little") == HEIGHT - 1


async def test_drawings_on_one_stream_come_side_by_side(rpc, hand_worker, until):
    answering = asyncio.create_task(rpc.stream(*(raw(**EMPTY, id=name) for name in ("a", "b"))))
    claims = [claim for _ in range(2) for claim in await until(hand_worker.claim)]
    for row in range(HEIGHT):
        for claim in claims:
            await hand_worker.draw(claim, first_row=row, rows=1)
    found = [response.infer_response.id for response in await answering]
    assert (found.count("a"), found.count("b")) == (HEIGHT, HEIGHT)


async def test_other_requests_of_the_stream_do_not_wait_for_a_drawing(rpc, hand_worker, until):
    answering = asyncio.create_task(rpc.stream(raw(**EMPTY, id="slow"), raw(id="quick")))
    [claim] = await until(hand_worker.claim)
    await hand_worker.draw(claim, first_row=0, rows=HEIGHT)
    found = [response.infer_response.id for response in await answering]
    assert sorted(found) == ["quick", *["slow"] * HEIGHT]


@pytest.mark.parametrize("end", ["its client goes away", "its deadline passes"])
async def test_a_stream_that_ends_early_cancels_its_jobs(end, client, hand_worker, until):
    seconds = 1.0 if end == "its deadline passes" else None
    answering = asyncio.create_task(responses_to(client, [drawing()], stream_timeout=seconds))
    [claim] = await until(hand_worker.claim)
    if end == "its client goes away":
        answering.cancel()
    await asyncio.gather(answering, return_exceptions=True)

    async def is_cancelled() -> bool:
        return (await hand_worker.look(claim, first_row=0)).verdict is Verdict.CANCELLED

    await until(is_cancelled)


async def test_a_drawing_that_fails_is_an_error_of_its_request(rpc, hand_worker, until):
    answering = asyncio.create_task(rpc.stream(raw(**EMPTY, id="mine")))
    [claim] = await until(hand_worker.claim)
    await hand_worker.fail(claim)
    [response] = await answering
    assert "It cannot be drawn." in response.error_message
    assert response.infer_response.id == "mine"


@pytest.mark.parametrize(
    ("name", "datatype", "values", "sentence"),
    [
        ("temperature", "FP32", np.array([np.nan], np.float32), "The temperature is 0.05 to 10, not nan."),
        ("temperature", "FP32", np.array([99], np.float32), "The temperature is 0.05 to 10, not 99."),
        ("prefix", "INT64", np.array([7]), "has a value outside 0 to 6"),
        ("prefix", "INT64", np.zeros(31, np.int64), "has 31 pixels, but the image only 30."),
        (
            "seed",
            "UINT64",
            np.zeros(2, np.uint64),
            "unexpected shape for input 'seed': expected [1], got [2].",
        ),
    ],
)
async def test_a_value_that_cannot_be_drawn_with_is_refused(client, name, datatype, values, sentence):
    [(_, error)] = await responses_to(client, [drawing(given(name, datatype, values))])
    assert sentence in error.message()


async def test_a_drawing_is_counted_with_a_response_for_each_row(client, hand_worker, until):
    await drawn(client, hand_worker, until, drawing())
    [counted] = (await client.get_inference_statistics(DRAW)).model_stats
    assert (counted.inference_count, counted.execution_count) == (1, 1)
    assert counted.inference_stats.queue.count == counted.inference_stats.success.count == 1
    assert {place: each.success.count for place, each in counted.response_stats.items()} == {
        str(row): 1 for row in range(HEIGHT)
    }
