"""ONNX files as Triton serves them: every datatype, every shape, with and without a batch."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray

from server.inference import inferring, requests
from server.inference.datatypes import DATATYPES
from tests.server.conftest import StartServer
from tests.server.inference.conftest import refusal
from tests.server.inference.onnx_files import write_add_sub, write_identity
from tests.server.inference.test_inferring import given

EXTREMES: dict[str, list[Any]] = {
    "BOOL": [True, False, True, True],
    "FP16": [65504, -0.0, np.inf, 6e-8],
    "FP32": [3.4e38, -0.0, np.inf, np.nan],
    "FP64": [1.7e308, -0.0, -np.inf, np.nan],
    "BYTES": [b"", b"plain", "grüße".encode(), b"a\x00b"],
}


def values_of(datatype: str) -> NDArray[Any]:
    """Four values of a datatype, its smallest and its largest among them."""
    kind = DATATYPES[datatype].dtype
    if datatype in EXTREMES:
        return np.array(EXTREMES[datatype], dtype=kind)
    return np.array([np.iinfo(kind).min, np.iinfo(kind).max, 0, 1], dtype=kind)


@pytest.fixture
async def server(start_server: StartServer, tmp_path) -> AsyncIterator[Any]:
    """A server of small ONNX files: one for each datatype, and some of other shapes."""
    for datatype in DATATYPES:
        write_identity(tmp_path / "files", f"batched_{datatype.lower()}", datatype, ["batch", 4])
    write_identity(tmp_path / "files", "fixed", "FP32", [2, 3])
    write_identity(tmp_path / "files", "scalar", "FP32", [])
    write_identity(tmp_path / "files", "ragged", "FP32", ["batch", "length"])
    write_identity(tmp_path / "files", "texts", "BYTES", ["batch", "length"])
    write_add_sub(tmp_path / "files", "add_sub", ["batch", 16])
    async with start_server(model_repository=tmp_path / "files") as running:
        yield running


async def test_every_datatype_comes_back_as_it_went_raw(client):
    for datatype in DATATYPES:
        values = np.stack([values_of(datatype)] * 3)
        result = await client.infer(f"batched_{datatype.lower()}", [given("x", datatype, values)])
        np.testing.assert_array_equal(result.as_numpy("y"), values)
        assert result.get_response().outputs[0].datatype == datatype


async def test_every_datatype_but_fp16_comes_back_as_it_went_typed(rpc):
    for datatype in DATATYPES.keys() - {"FP16"}:
        values = values_of(datatype)
        contents = {DATATYPES[datatype].contents: values.tolist()}
        tensor = {"name": "x", "datatype": datatype, "shape": [1, 4], "contents": contents}
        response = await rpc("ModelInfer", model_name=f"batched_{datatype.lower()}", inputs=[tensor])
        expected = await rpc(
            "ModelInfer",
            model_name=f"batched_{datatype.lower()}",
            inputs=[{"name": "x", "datatype": datatype, "shape": [1, 4]}],
            raw_input_contents=[bytes(response.raw_output_contents[0])],
        )
        assert response == expected
        if datatype != "BYTES":
            assert response.raw_output_contents[0] == values.tobytes()


async def test_fp16_has_no_typed_contents(rpc):
    tensor = {"name": "x", "datatype": "FP16", "shape": [1, 4], "contents": {"fp32_contents": [1, 2, 3, 4]}}
    call = rpc("ModelInfer", model_name="batched_fp16", inputs=[tensor])
    assert "must be sent in raw_input_contents" in await sentence(call)


async def test_values_are_counted_before_they_are_read(rpc):
    typed = {"name": "x", "datatype": "INT8", "shape": [1, 4], "contents": {"int_contents": [1000] * 5}}
    call = rpc("ModelInfer", model_name="batched_int8", inputs=[typed])
    assert "its shape has 4 values, but 5 came" in await sentence(call)
    texts = {"name": "x", "datatype": "BYTES", "shape": [1, 4]}
    raw = [b"\x01\x00\x00\x00a" * 4 + b"not a length"]
    call = rpc("ModelInfer", model_name="batched_bytes", inputs=[texts], raw_input_contents=raw)
    assert "unexpected raw_input_contents of input 'x': more than 4 values came." in await sentence(call)


async def test_metadata_and_configuration_name_every_datatype(client):
    for datatype in DATATYPES:
        name = f"batched_{datatype.lower()}"
        metadata = await client.get_model_metadata(name)
        assert (metadata.inputs[0].datatype, list(metadata.inputs[0].shape)) == (datatype, [-1, 4])
        config = (await client.get_model_config(name)).config
        assert config.input[0].data_type == DATATYPES[datatype].config
        assert (config.max_batch_size, list(config.input[0].dims)) == (64, [4])


async def test_two_inputs_and_outputs_as_in_tritons_example(client):
    first, second = np.arange(32, dtype=np.float32).reshape(2, 16), np.ones((2, 16), dtype=np.float32)
    inputs = [given("INPUT0", "FP32", first), given("INPUT1", "FP32", second)]
    result = await client.infer("add_sub", inputs)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), first + second)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), first - second)


@pytest.mark.parametrize(("name", "shape"), [("fixed", (2, 3)), ("scalar", ())])
async def test_a_model_without_a_batch_takes_its_own_shape(client, name, shape):
    values = np.full(shape, 1.5, dtype=np.float32)
    result = await client.infer(name, [given("x", "FP32", values)])
    np.testing.assert_array_equal(result.as_numpy("y"), values)
    config = (await client.get_model_config(name)).config
    assert (config.max_batch_size, tuple(config.input[0].dims)) == (0, shape)
    assert not config.HasField("dynamic_batching")


async def test_a_model_without_a_batch_takes_no_other_shape(client):
    values = np.zeros((1, 2, 3), dtype=np.float32)
    _, message = await refusal(client.infer("fixed", [given("x", "FP32", values)]))
    assert message == "fixed: unexpected shape for input 'x': expected [2,3], got [1,2,3]."


async def test_requests_of_different_lengths_at_once_each_get_their_own(client):
    lengths = [number % 5 for number in range(60)]
    sent = [np.full((2, length), number, dtype=np.float32) for number, length in enumerate(lengths)]
    results = await asyncio.gather(*(client.infer("ragged", [given("x", "FP32", values)]) for values in sent))
    for values, result in zip(sent, results, strict=True):
        np.testing.assert_array_equal(result.as_numpy("y"), values)


@pytest.mark.parametrize(("name", "datatype"), [("ragged", "FP32"), ("texts", "BYTES")])
async def test_a_tensor_may_have_no_values(client, name, datatype):
    nothing = np.zeros((2, 0), dtype=DATATYPES[datatype].dtype)
    result = await client.infer(name, [given("x", datatype, nothing)])
    assert result.as_numpy("y").shape == (2, 0)
    assert list(result.get_response().raw_output_contents) == [b""]


async def test_every_datatype_goes_through_shared_memory_as_it_is(client, key):
    for datatype in DATATYPES:
        values = values_of(datatype)[np.newaxis]
        raw = given("x", datatype, values)._get_content()
        (Path("/dev/shm") / key[1:]).write_bytes(raw + bytes(1000))
        await client.register_system_shared_memory("both", key, 1000)
        tensor, output = triton.InferInput("x", [1, 4], datatype), triton.InferRequestedOutput("y")
        tensor.set_shared_memory("both", len(raw))
        output.set_shared_memory("both", 500, offset=500)
        await client.infer(f"batched_{datatype.lower()}", [tensor], outputs=[output])
        await client.unregister_system_shared_memory("both")
        assert (Path("/dev/shm") / key[1:]).read_bytes()[500 : 500 + len(raw)] == raw


async def test_one_input_may_lie_in_shared_memory_and_the_other_in_the_request(client, key):
    values = np.arange(16, dtype=np.float32).reshape(1, 16)
    (Path("/dev/shm") / key[1:]).write_bytes(values.tobytes())
    await client.register_system_shared_memory("mine", key, values.nbytes)
    shared = {name: triton.InferInput(name, [1, 16], "FP32") for name in ("INPUT0", "INPUT1")}
    for tensor in shared.values():
        tensor.set_shared_memory("mine", values.nbytes)
    for first, second in (("INPUT0", "INPUT1"), ("INPUT1", "INPUT0")):
        result = await client.infer("add_sub", [shared[first], given(second, "FP32", 10 * values)])
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), 11 * values)


async def test_texts_of_different_lengths_at_once_each_get_their_own(client):
    sent = [
        np.array([[f"{number}-{place}".encode() * place for place in range(number % 4)]], dtype=object)
        for number in range(1, 40)
    ]
    results = await asyncio.gather(*(client.infer("texts", [given("x", "BYTES", values)]) for values in sent))
    for values, result in zip(sent, results, strict=True):
        assert result.as_numpy("y").tolist() == values.tolist()


async def test_a_large_tensor_of_texts_does_not_make_others_wait_for_its_reading(client, rpc):
    many = np.full((1, 200_000), b"x", dtype=object)
    slow = asyncio.create_task(client.infer("texts", [given("x", "BYTES", many)]))
    assert await client.is_server_live()
    assert (await slow).as_numpy("y").tolist() == many.tolist()


async def test_classes_of_a_model_without_a_batch_have_no_batch(client):
    values = np.array([[1, 5, 2], [0, 9, 3]], dtype=np.float32)
    outputs = [triton.InferRequestedOutput("y", class_count=2)]
    result = await client.infer("fixed", [given("x", "FP32", values)], outputs=outputs)
    assert result.as_numpy("y").tolist() == [b"9.000000:4", b"5.000000:1"]


async def test_texts_have_no_classes(client):
    outputs = [triton.InferRequestedOutput("y", class_count=2)]
    values = values_of("BYTES").reshape(1, 4)
    code, message = await refusal(
        client.infer("batched_bytes", [given("x", "BYTES", values)], outputs=outputs)
    )
    assert code == "INVALID_ARGUMENT"
    assert "classification is not available for output 'y' of type BYTES" in message


async def sentence(call: Any) -> str:
    """The sentence with which a call of `rpc` is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.details() or ""


@pytest.fixture
def on_the_loop(monkeypatch) -> dict[str, bool]:
    """Whether the last request was read, and its response written, in the thread of the event loop."""
    found: dict[str, bool] = {}
    loop = threading.get_ident()

    def noting(name: str, do: Any) -> Any:
        def noted(*given: Any, **named: Any) -> Any:
            found[name] = threading.get_ident() == loop
            return do(*given, **named)

        return noted

    for name in ("read", "write"):
        monkeypatch.setattr(inferring, name, noting(name, getattr(inferring, name)))
    return found


@pytest.mark.parametrize(("length", "is_slow"), [(5, False), (6000, True)])
async def test_many_values_that_are_handled_one_by_one_hold_nobody_up(client, on_the_loop, length, is_slow):
    texts = np.full((1, length), b"twelve bytes", dtype=object)
    await client.infer("texts", [given("x", "BYTES", texts)])
    assert on_the_loop == {"read": not is_slow, "write": not is_slow}
    numbers = given("x", "FP32", np.zeros((1, length), np.float32))
    await client.infer("ragged", [numbers], outputs=[triton.InferRequestedOutput("y", class_count=3)])
    assert on_the_loop["write"] is not is_slow
    await client.infer("ragged", [numbers])
    assert on_the_loop == {"read": True, "write": True}  # as a whole


async def test_slow_reading_holds_up_no_runs_and_ends_with_its_deadline(client, monkeypatch, until):
    texts = [given("x", "BYTES", np.full((1, 6000), b"twelve bytes", dtype=object))]
    numbers = [given("x", "FP32", np.zeros((1, 3), np.float32))]
    begun: list[str] = []
    may_go_on, read = threading.Event(), requests.read

    def held(model: Any, *others: Any) -> Any:
        if model.name == "texts":
            begun.append(model.name)
            assert may_go_on.wait(60)
        return read(model, *others)

    monkeypatch.setattr(inferring, "read", held)
    slow = [asyncio.create_task(client.infer("texts", texts)) for _ in range(os.cpu_count() or 1)]
    await until(lambda: begun)
    code, _ = await refusal(client.infer("texts", texts, client_timeout=0.5))
    await client.infer("ragged", numbers)  # its sizes vary, so it runs in a thread of the graphs
    may_go_on.set()
    await asyncio.gather(*slow)
    assert (code, len(begun)) == ("DEADLINE_EXCEEDED", len(slow))
