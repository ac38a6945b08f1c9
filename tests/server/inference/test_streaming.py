"""ModelStreamInfer with models that have one response: many requests on one stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from structlog.testing import capture_logs

from server.inference import protocol, streaming
from tests.server.conftest import StartServer, refused
from tests.server.inference.test_inferring import DECODE, LATENTS, latents, raw
from tests.server.inference.wire import Rpc
from tests.server.toys import decoded


async def responses_to(client: Any, requests: list[dict[str, Any]], **options: Any) -> list[tuple[Any, Any]]:
    """All responses to requests on one stream of Triton's client: result and error of each."""

    async def sent() -> AsyncIterator[dict[str, Any]]:
        for request in requests:
            yield request

    return [each async for each in client.stream_infer(sent(), **options)]


def asked(values: Any = LATENTS, **fields: Any) -> dict[str, Any]:
    """One request to `decode`, as the client's streams take it."""
    return {"model_name": DECODE, "inputs": latents(values)} | fields


async def test_responses_come_in_the_order_of_the_requests_with_their_ids(client):
    many = [asked(LATENTS * number, request_id=str(number)) for number in range(40)]
    found = await responses_to(client, many)
    assert [result.get_response().id for result, _ in found] == [str(number) for number in range(40)]
    for number, (result, _) in enumerate(found):
        np.testing.assert_array_equal(result.as_numpy("pixels"), decoded(LATENTS * number))


async def test_every_response_says_that_it_is_the_last_to_its_request(client):
    [(result, _)] = await responses_to(client, [asked()])
    assert result.get_response().parameters["triton_final_response"].bool_param is True


async def test_an_empty_final_response_is_not_sent_where_one_response_is_all(rpc):
    wanted = {"triton_enable_empty_final_response": {"bool_param": True}}
    [response] = await rpc.stream(raw(parameters=wanted))
    assert len(response.infer_response.raw_output_contents) == 1


async def test_a_bad_request_has_its_id_and_sentence_and_does_not_end_the_stream(rpc):
    bad = raw(inputs=[], raw_input_contents=[], id="bad")
    first, second, third, fourth = await rpc.stream(
        raw(id="one"), bad, raw(model_name="nobody", id="lost"), raw(id="two")
    )
    assert (first.infer_response.id, first.error_message) == ("one", "")
    assert second.infer_response.id == "bad"
    assert second.error_message == f"{DECODE}: expected 1 inputs but got 0: 'latent' must be given."
    assert third.error_message == "Request for unknown model: 'nobody' is not found."
    assert (fourth.infer_response.id, fourth.error_message) == ("two", "")


async def test_tritons_client_raises_the_sentence_and_reads_on(client):
    found = await responses_to(client, [asked(model_version="7"), asked()])
    assert "is not found" in found[0][1].message()
    assert found[1][1] is None


async def test_a_client_that_wants_statuses_gets_the_status_and_the_stream_ends(client):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await responses_to(client, [asked(model_version="7"), asked()], headers={"triton_grpc_error": "true"})
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "is not found" in str(refused.value.details())


async def test_a_blocking_client_streams_with_callbacks(blocking_client):
    loop, answers = asyncio.get_running_loop(), asyncio.Queue[Any]()

    def take(result: Any, error: Any) -> None:
        loop.call_soon_threadsafe(answers.put_nowait, error or result)

    await asyncio.to_thread(blocking_client.start_stream, take)
    for number in range(3):
        blocking_client.async_stream_infer(DECODE, latents(), request_id=str(number))
    found = [await answers.get() for _ in range(3)]
    await asyncio.to_thread(blocking_client.stop_stream)
    assert [each.get_response().id for each in found] == ["0", "1", "2"]


async def test_an_empty_stream_ends_in_order(rpc):
    assert await rpc.stream() == []


@pytest.mark.parametrize("end", ["its deadline passes", "its client goes away"])
async def test_a_stream_whose_deadline_passes_or_whose_client_goes_away_costs_no_run(
    end, runs, server, client, until
):
    model = server.application.catalogue.get("toy-vae")
    first = asyncio.create_task(client.infer(DECODE, latents()))
    await until(lambda: len(runs.sizes) == 1)  # given a graph that is busy
    seconds = 1.0 if end == "its deadline passes" else None
    stream = asyncio.create_task(responses_to(client, [asked(), asked()], stream_timeout=seconds))
    await until(lambda: model.waiting("decode") == 2)
    if end == "its client goes away":
        stream.cancel()
    await until(lambda: model.waiting("decode") == 0)
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await stream
    runs.go_on.set()
    await first
    await client.infer(DECODE, latents(LATENTS[:1]))
    assert runs.sizes == [len(LATENTS), 1]


async def test_a_message_that_cannot_be_parsed_ends_the_stream_after_the_responses_before_it(server):
    stream: Any = server.channel.stream_stream(f"/{protocol.SERVICE}/ModelStreamInfer")
    request = protocol.request_class(next(each for each in protocol.METHODS if each.name == "ModelInfer"))

    async def sent() -> AsyncIterator[bytes]:
        yield request(**raw()).SerializeToString()
        yield b"\xff\xff\xff"

    responses = aiter(stream(sent()))
    assert await anext(responses)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(responses)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_more_requests_than_are_answered_at_once_are_all_answered(rpc):
    found = await rpc.stream(*(raw(id=str(number)) for number in range(200)))
    assert [each.infer_response.id for each in found] == [str(number) for number in range(200)]


async def test_a_stream_has_a_limited_size_in_the_server(runs, server, rpc, client, until, monkeypatch):
    request = protocol.request_class(next(each for each in protocol.METHODS if each.name == "ModelInfer"))
    size = request(**raw(id="1")).ByteSize()
    monkeypatch.setattr(streaming, "_MOST_BYTES", 2 * size)
    model = server.application.catalogue.get("toy-vae")
    first = asyncio.create_task(client.infer(DECODE, latents()))
    await until(lambda: len(runs.sizes) == 1)  # given a graph that is busy
    answering = asyncio.create_task(rpc.stream(*(raw(id=str(number)) for number in range(5))))
    await until(lambda: model.waiting("decode") == 2)
    for _ in range(3):
        await client.is_server_live()  # what the stream has sent before is there now
    assert model.waiting("decode") == 2  # then the others wait outside
    runs.go_on.set()
    await first
    assert [each.infer_response.id for each in await answering] == [str(number) for number in range(5)]


async def test_a_request_larger_than_the_room_of_a_stream_comes_alone(rpc, monkeypatch):
    monkeypatch.setattr(streaming, "_MOST_BYTES", 1)
    found = await rpc.stream(*(raw(id=str(number)) for number in range(5)))
    assert [each.infer_response.id for each in found] == [str(number) for number in range(5)]


async def test_an_output_can_be_chosen_in_a_stream(client):
    output = triton.InferRequestedOutput("pixels", class_count=1)
    [(result, _)] = await responses_to(client, [asked(outputs=[output])])
    assert result.get_response().outputs[0].datatype == "BYTES"


async def test_a_message_that_is_too_large_ends_the_stream_with_a_status_and_is_no_bug(
    start_server: StartServer,
):
    too_large = raw(raw_input_contents=[bytes(3000)])
    with capture_logs() as logs:
        async with start_server(max_message_bytes=2000) as server:
            refusal = await refused(Rpc(server.channel).stream(raw(id="one"), too_large))
    assert (refusal.code, "larger than max" in refusal.message) == ("RESOURCE_EXHAUSTED", True)
    assert not [each for each in logs if "bug" in each["event"]]
