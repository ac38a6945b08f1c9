"""ModelInfer as Triton's clients use it: values in, values out, each fault one sentence."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray

from server.oneshot.catalogue import ServedModel
from server.oneshot.waiting import Arrays
from smalti.errors import WaitedTooLong
from tests.server.inference.conftest import refusal
from tests.server.inference.wire import Rpc
from tests.server.toys import LATENT, decoded, encoded

DECODE = "toy-vae.decode"
LATENTS = np.array([[0.5, -1.0, 2.0], [1.0, 0.0, -0.5]], dtype=np.float32)
PIXELS = np.arange(20, dtype=np.int64).reshape(1, 4, 5) % 4


def given(name: str, datatype: str, values: NDArray[Any], shape: Sequence[int] | None = None) -> Any:
    """An input of Triton's client."""
    tensor = triton.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    if shape is not None:
        tensor.set_shape(list(shape))
    return tensor


def latents(values: NDArray[Any] = LATENTS, **options: Any) -> list[Any]:
    """The input of `decode`."""
    return [given("latent", "FP32", values, **options)]


def raw(values: NDArray[Any] = LATENTS, **fields: Any) -> dict[str, Any]:
    """The fields of a request to `decode`, as they travel."""
    tensor = {"name": "latent", "datatype": "FP32", "shape": list(values.shape)}
    return {"model_name": DECODE, "inputs": [tensor], "raw_input_contents": [values.tobytes()]} | fields


async def test_the_outputs_are_those_of_the_graph(client):
    result = await client.infer(DECODE, latents())
    np.testing.assert_array_equal(result.as_numpy("pixels"), decoded(LATENTS))


async def test_a_blocking_client_gets_the_same(blocking_client):
    result = await asyncio.to_thread(blocking_client.infer, DECODE, latents())
    np.testing.assert_array_equal(result.as_numpy("pixels"), decoded(LATENTS))


async def test_a_client_with_callbacks_gets_the_same(blocking_client):
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    blocking_client.async_infer(
        DECODE,
        latents(),
        lambda result, error: loop.call_soon_threadsafe(answered.set_result, result or error),
    )
    np.testing.assert_array_equal((await answered).as_numpy("pixels"), decoded(LATENTS))


async def test_the_response_names_model_version_id_datatype_and_shape(client):
    response = (await client.infer(DECODE, latents(), request_id="mine")).get_response()
    assert (response.model_name, response.model_version, response.id) == (DECODE, "1", "mine")
    [output] = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("pixels", "INT64", [2, 4, 5])


async def test_every_output_has_its_raw_contents_in_the_order_of_the_request(client):
    names = ["log_deviation", "mean"]
    outputs = [triton.InferRequestedOutput(name) for name in names]
    result = await client.infer("toy-vae.encode", [given("pixels", "INT64", PIXELS)], outputs=outputs)
    response = result.get_response()
    assert [output.name for output in response.outputs] == names
    assert [len(raw) for raw in response.raw_output_contents] == [4 * LATENT, 4 * LATENT]
    np.testing.assert_allclose(result.as_numpy("mean"), encoded(PIXELS), rtol=1e-5)


async def test_without_requested_outputs_all_come_in_the_order_of_the_graph(client):
    result = await client.infer("toy-vae.encode", [given("pixels", "INT64", PIXELS)])
    assert [output.name for output in result.get_response().outputs] == ["mean", "log_deviation"]


async def test_inputs_may_come_in_any_order(client):
    noise = np.ones((1, LATENT), dtype=np.float32)
    inputs = [given("noise", "FP32", noise), given("pixels", "INT64", PIXELS)]
    result = await client.infer("toy-vae.score", inputs)
    assert result.as_numpy("elbo").tolist() == [PIXELS.sum() + LATENT]


async def test_values_may_come_typed_instead_of_raw(rpc):
    tensor = {
        "name": "latent",
        "datatype": "FP32",
        "shape": [2, 3],
        "contents": {"fp32_contents": LATENTS.reshape(-1).tolist()},
    }
    response = await rpc("ModelInfer", model_name=DECODE, inputs=[tensor])
    assert response.raw_output_contents[0] == decoded(LATENTS).tobytes()
    assert not response.outputs[0].HasField("contents")


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
async def test_requests_compressed_by_the_client_are_answered(client, algorithm):
    result = await client.infer(DECODE, latents(), compression_algorithm=algorithm)
    np.testing.assert_array_equal(result.as_numpy("pixels"), decoded(LATENTS))


async def test_many_requests_at_once_each_get_their_own_outputs(client):
    each = [LATENTS[:1] * number for number in range(50)]
    results = await asyncio.gather(*(client.infer(DECODE, latents(values)) for values in each))
    for values, result in zip(each, results, strict=True):
        np.testing.assert_array_equal(result.as_numpy("pixels"), decoded(values))


async def test_a_response_of_many_megabytes_arrives_whole(start_server, repository):
    many = np.linspace(-3, 3, 60_000 * LATENT, dtype=np.float32).reshape(-1, LATENT)
    async with start_server(max_batch=60_000, max_waiting=60_000) as server:
        response = await Rpc(server.channel)("ModelInfer", **raw(many))
    assert response.raw_output_contents[0] == decoded(many).tobytes()


FAULTS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "an unknown input": (
        lambda: raw(inputs=[{"name": "lent", "datatype": "FP32", "shape": [2, 3]}]),
        "unexpected inference input 'lent': the inputs are 'latent'.",
    ),
    "an input given twice": (
        lambda: raw(inputs=raw()["inputs"] * 2, raw_input_contents=[LATENTS.tobytes()] * 2),
        "input 'latent' is given twice.",
    ),
    "no input": (
        lambda: raw(inputs=[], raw_input_contents=[]),
        "expected 1 inputs but got 0: 'latent' must be given.",
    ),
    "another datatype": (
        lambda: raw(inputs=[{"name": "latent", "datatype": "FP64", "shape": [2, 3]}]),
        "inference input 'latent' data-type is 'FP64', but 'FP32' is expected.",
    ),
    "another size of an axis": (
        lambda: raw(inputs=[{"name": "latent", "datatype": "FP32", "shape": [2, 4]}]),
        "unexpected shape for input 'latent': expected [-1,3], got [2,4].",
    ),
    "no batch": (
        lambda: raw(inputs=[{"name": "latent", "datatype": "FP32", "shape": [3]}]),
        "unexpected shape for input 'latent': expected [-1,3], got [3].",
    ),
    "a negative size": (
        lambda: raw(inputs=[{"name": "latent", "datatype": "FP32", "shape": [-1, 3]}]),
        "unexpected shape for input 'latent': expected [-1,3], got [-1,3].",
    ),
    "an empty batch": (
        lambda: raw(LATENTS[:0]),
        "inference request batch-size must be <= 64 and not 0, but it is 0.",
    ),
    "a batch that is too large": (
        lambda: raw(np.zeros((65, 3), dtype=np.float32)),
        "inference request batch-size must be <= 64 and not 0, but it is 65.",
    ),
    "too many bytes": (
        lambda: raw(raw_input_contents=[bytes(28)]),
        "unexpected size of input 'latent': its shape has 6 values, but 7 came.",
    ),
    "a broken value": (
        lambda: raw(raw_input_contents=[bytes(23)]),
        (
            "unexpected raw_input_contents of input 'latent': 23 bytes are no whole number of FP32 values, "
            "which take 4 bytes each."
        ),
    ),
    "no bytes": (
        lambda: raw(raw_input_contents=[]),
        "unexpected size of input 'latent': its shape has 6 values, but 0 came.",
    ),
    "bytes for no input": (
        lambda: raw(raw_input_contents=[LATENTS.tobytes()] * 2),
        "expected 1 raw_input_contents, one for each input outside shared memory, but got 2.",
    ),
    "raw and typed values": (
        lambda: raw(inputs=[raw()["inputs"][0] | {"contents": {"fp32_contents": [1.0]}}]),
        "contents field must not be specified when using raw_input_contents, as it is for 'latent'.",
    ),
    "typed values in a foreign field": (
        lambda: raw(inputs=[raw()["inputs"][0] | {"contents": {"int_contents": [1]}}], raw_input_contents=[]),
        "input 'latent' of type FP32 has values in int_contents, which belong into fp32_contents.",
    ),
    "an unknown output": (
        lambda: raw(outputs=[{"name": "image"}]),
        "unexpected inference output 'image': the outputs are 'pixels'.",
    ),
    "an output requested twice": (
        lambda: raw(outputs=[{"name": "pixels"}] * 2),
        "output 'pixels' is requested twice.",
    ),
    "a reserved parameter": (
        lambda: raw(parameters={"triton_trace": {"bool_param": True}}),
        (
            "parameters whose names start with 'triton_' are reserved, and 'triton_trace' is not one that the server "
            "knows: it knows 'triton_enable_empty_final_response'."
        ),
    ),
    "a timeout that is a text": (
        lambda: raw(parameters={"timeout": {"string_param": "1"}}),
        "invalid value type for 'timeout' parameter, expected int64_param or uint64_param.",
    ),
    "a negative timeout": (
        lambda: raw(parameters={"timeout": {"int64_param": -1}}),
        "the 'timeout' parameter is -1, but must be 0 or more.",
    ),
    "a sequence id that is a truth": (
        lambda: raw(parameters={"sequence_id": {"bool_param": True}}),
        "invalid value type for 'sequence_id' parameter, expected int64_param or uint64_param or string_param.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_one_sentence_that_begins_with_the_model(rpc, fault):
    request, sentence = FAULTS[fault]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rpc("ModelInfer", **request())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == f"{DECODE}: {sentence}"


async def test_a_colour_that_the_palette_lacks_is_refused_before_it_reaches_others(client):
    for colour in (4, -1, 2**62):
        pixels = np.full((1, 4, 5), colour, dtype=np.int64)
        assert await refusal(client.infer("toy-vae.encode", [given("pixels", "INT64", pixels)])) == (
            "INVALID_ARGUMENT",
            "toy-vae.encode: input 'pixels' has a value outside 0 to 3, the numbers of the colours.",
        )


async def test_inputs_of_different_batch_sizes_are_refused(client):
    inputs = [
        given("noise", "FP32", np.ones((2, LATENT), dtype=np.float32)),
        given("pixels", "INT64", PIXELS),
    ]
    assert await refusal(client.infer("toy-vae.score", inputs)) == (
        "INVALID_ARGUMENT",
        "toy-vae.score: the inputs have different batch sizes, [1,2].",
    )


async def test_models_and_versions_that_are_not_there_are_refused(client):
    assert (await refusal(client.infer("toy-vae.paint", latents())))[0] == "NOT_FOUND"
    assert (await refusal(client.infer(DECODE, latents(), model_version="2")))[0] == "NOT_FOUND"
    assert (await refusal(client.infer(DECODE, latents(), model_version="two")))[0] == "INVALID_ARGUMENT"


async def test_a_decoupled_model_is_refused_with_the_rpc_to_use(client):
    code, message = await refusal(client.infer("toy-pixel-rnn.draw", []))
    assert code == "UNIMPLEMENTED"
    assert "ModelInfer RPC doesn't support models with decoupled transaction policy" in message
    assert "ModelStreamInfer" in message


@pytest.mark.parametrize(
    "options",
    [
        {"sequence_id": 7, "sequence_start": True, "sequence_end": True},
        {"sequence_id": "seven"},
        {"priority": 3},
        {"timeout": 10_000_000},
        {"parameters": {"colour": "red", "number": 3, "share": 0.5, "yes": True}},
    ],
)
async def test_reserved_and_own_parameters_are_taken(client, options):
    result = await client.infer(DECODE, latents(), **options)
    np.testing.assert_array_equal(result.as_numpy("pixels"), decoded(LATENTS))


async def test_a_batch_of_one_value_is_the_first_of_a_larger_one(client):
    one = (await client.infer(DECODE, latents(LATENTS[:1]))).as_numpy("pixels")
    two = (await client.infer(DECODE, latents())).as_numpy("pixels")
    np.testing.assert_array_equal(one, two[:1])


async def test_a_deadline_that_has_passed_is_refused_by_its_status(runs, client):
    code, _ = await refusal(client.infer(DECODE, latents(), client_timeout=0.2))
    assert code == "DEADLINE_EXCEEDED"


async def test_a_client_with_callbacks_hears_of_a_passed_deadline(runs, blocking_client, until):
    errors: list[Any] = []

    def take(result: Any, error: Any) -> None:
        errors.append(error)

    blocking_client.async_infer(DECODE, latents(), callback=take, client_timeout=0.2)
    await until(lambda: errors)
    assert errors[0].status() == "StatusCode.DEADLINE_EXCEEDED"
    await asyncio.to_thread(blocking_client.start_stream, take, stream_timeout=0.2)
    blocking_client.async_stream_infer(DECODE, latents())
    await until(lambda: len(errors) == 2)
    assert errors[1].status() == "StatusCode.DEADLINE_EXCEEDED"


async def test_priority_timeout_and_deadline_reach_the_queue_of_the_graph(client, monkeypatch):
    seen: dict[str, Any] = {}
    answer = ServedModel.ask

    async def ask(self: ServedModel, graph: str, inputs: Arrays, **options: Any) -> Arrays:
        seen.update(options)
        return await answer(self, graph, inputs, **options)

    monkeypatch.setattr(ServedModel, "ask", ask)
    await client.infer(DECODE, latents(), priority=2, timeout=1_500_000, client_timeout=60)
    left = seen["deadline"] - asyncio.get_running_loop().time()
    assert (seen["priority"], seen["timeout_seconds"]) == (2, 1.5)
    assert 0 < left <= 61  # clients of gRPC round the time up


async def test_a_request_whose_timeout_passes_is_unavailable(client, monkeypatch):
    async def ask(self: ServedModel, graph: str, inputs: Arrays, **options: Any) -> Arrays:
        raise WaitedTooLong("The request's timeout passed.")

    monkeypatch.setattr(ServedModel, "ask", ask)
    assert await refusal(client.infer(DECODE, latents(), timeout=1)) == (
        "UNAVAILABLE",
        "The request's timeout passed.",
    )


async def test_a_client_that_goes_away_takes_its_request_along(server, client, monkeypatch, until):
    ended = asyncio.Event()
    asked = asyncio.Event()

    async def ask(self: ServedModel, graph: str, inputs: Arrays, **options: Any) -> Arrays:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    monkeypatch.setattr(ServedModel, "ask", ask)
    call = asyncio.create_task(client.infer(DECODE, latents()))
    await asked.wait()
    call.cancel()
    await ended.wait()


async def test_a_request_whose_deadline_passes_or_whose_client_goes_away_costs_no_run(
    runs, server, client, until
):
    model = server.application.catalogue.get("toy-vae")
    first = asyncio.create_task(client.infer(DECODE, latents()))
    await until(lambda: len(runs.sizes) == 1)  # given a graph that is busy
    assert (await refusal(client.infer(DECODE, latents(), client_timeout=0.3)))[0] == "DEADLINE_EXCEEDED"
    await until(lambda: model.waiting("decode") == 0)
    gone = asyncio.create_task(client.infer(DECODE, latents()))
    await until(lambda: model.waiting("decode") == 1)
    gone.cancel()
    await until(lambda: model.waiting("decode") == 0)
    runs.go_on.set()
    await first
    await client.infer(DECODE, latents(LATENTS[:1]))
    assert runs.sizes == [len(LATENTS), 1]
