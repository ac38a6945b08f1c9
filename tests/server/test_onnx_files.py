"""Any ONNX file in the repository is served: Triton's client asks it, it is listed, and it is followed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from tritonclient.utils import np_to_triton_dtype

from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2
from tests.onnx_files import TYPES, WEIGHTS, identity, joined, put, scaled, with_weights_in
from tests.server.conftest import Running, refused
from tests.server.inference.conftest import refusal


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with nothing but ONNX files."""
    root = tmp_path / "models"
    put(root, scaled(), name="scaled")
    put(root, joined(), name="joined_up", version=None)
    for kind, number in TYPES.items():
        put(root, identity((2, None), number), name=f"same-{kind}")
    put(root, identity(()), name="scalar")
    for name in ("pixels", "latent"):  # names with a meaning in models of images
        put(root, identity((1, 2), TYPES["uint8"], name=name), name=f"of_{name}")
    put(root, identity(("batch", 3), TYPES["string"]), name="texts")
    put(root, identity((2**31 - 1, 2**31 - 1)), name="huge")
    return root


@pytest.fixture
async def client(server: Running) -> AsyncIterator[Any]:
    """Triton's client of the server."""
    async with triton.InferenceServerClient(server.address) as client:
        yield client


def given(values: NDArray[Any], name: str = "x") -> Any:
    """An input for Triton's client."""
    tensor = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    return tensor


async def asked(client: Any, model: str, *inputs: Any) -> Any:
    """The answer of a model without images."""
    return await client.infer(model, list(inputs))


@pytest.mark.parametrize("kind", TYPES)
async def test_values_of_every_type_go_through_a_graph_unchanged(client: Any, kind: str):
    if kind == "string":
        values = np.array([["", "ü", "x" * 100], ["1", "\0", "€"]], dtype=object)
        values = np.vectorize(str.encode, otypes=[object])(values)
    else:
        values = np.array([[0, 1, 1], [1, 0, 1]]).astype(kind)
    found = (await asked(client, f"same-{kind}", given(values))).as_numpy("y")
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("shape", [(1, 3), (5, 3), (64, 3)])
async def test_a_batched_graph_answers_any_number_of_entries(client: Any, shape: tuple[int, ...]):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = await asked(client, "scaled", given(values))
    np.testing.assert_array_equal(found.as_numpy("y"), 2 * values)
    np.testing.assert_array_equal(found.as_numpy("sum"), 2 * values.sum(axis=1))


async def test_a_graph_that_is_not_batched_takes_axes_of_any_size_and_scalars(client: Any):
    left, right = np.ones(3, np.float32), np.zeros(100, np.float32)
    found = await asked(client, "joined_up", given(left, "left"), given(right, "right"))
    np.testing.assert_array_equal(found.as_numpy("y"), np.concatenate([left, right]))
    found = await asked(client, "scalar", given(np.array(4.5, np.float32)))
    assert found.as_numpy("y") == 4.5
    empty = np.zeros((2, 0), np.int8)
    assert (await asked(client, "same-int8", given(empty))).as_numpy("y").shape == (2, 0)


@pytest.mark.parametrize("name", ["of_pixels", "of_latent", "texts", "huge"])
async def test_nothing_that_a_file_says_of_its_inputs_keeps_it_from_being_served(client: Any, name: str):
    assert await client.is_model_ready(name)


async def test_text_that_is_not_utf8_is_refused(client: Any):
    values = np.array([[b"\xff"], [b"fine"]], dtype=object)
    status, sentence = await refusal(asked(client, "same-string", given(values)))
    assert status == "INVALID_ARGUMENT"
    assert "UTF-8" in sentence


async def test_what_triton_would_say_of_it_is_in_its_metadata_and_configuration(client: Any):
    metadata = await client.get_model_metadata("scaled", as_json=True)
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "3"]}]
    assert [each["shape"] for each in metadata["outputs"]] == [["-1", "3"], ["-1"]]
    batched = (await client.get_model_config("scaled")).config
    assert (batched.max_batch_size > 0, list(batched.input[0].dims)) == (True, [3])
    whole = (await client.get_model_config("joined_up")).config
    assert (whole.max_batch_size, list(whole.input[0].dims)) == (0, [-1])


async def test_it_is_listed_with_its_inputs_and_outputs_and_without_a_size(server: Running):
    reply = await server.models.List(models_pb2.ListModelsRequest())
    model = next(each for each in reply.models if each.name == "joined_up")
    assert (model.medium, model.family, model.height, list(model.palette)) == ("tensors", "", 0, [])
    [graph] = model.signatures
    assert (graph.name, graph.is_batched) == ("model", False)
    assert [(each.name, each.type, list(each.shape)) for each in graph.inputs] == [
        ("left", "float32", [-1]),
        ("right", "float32", [-1]),
    ]
    details = await server.models.Get(models_pb2.GetModelRequest(name="joined_up"))
    assert "palette" not in details.manifest_json
    assert await server.status("joined_up") == "SERVING"


async def test_a_file_put_into_the_running_servers_repository_is_served_and_a_changed_one_replaced(
    server: Running, client: Any, repository: Path
):
    folder = put(repository, with_weights_in("model.data"), name="new")
    (folder / "model.data").write_bytes(WEIGHTS.tobytes())
    ones = np.ones((1, 3), np.float32)
    await server.application.catalogue.follow()
    assert (await asked(client, "new", given(ones))).as_numpy("y").tolist() == [[1, 2, 3]]
    put(repository, scaled(7.0), name="scaled")
    await server.application.catalogue.follow()
    assert (await asked(client, "scaled", given(ones))).as_numpy("y").tolist() == [[7, 7, 7]]


async def test_a_bad_file_is_left_out_with_one_sentence_and_the_others_are_served(
    server: Running, client: Any, repository: Path
):
    put(repository, b"not ONNX", name="bad")
    await server.application.catalogue.follow()
    reply = await server.models.List(models_pb2.ListModelsRequest())
    assert [(each.place, each.reason) for each in reply.left_out] == [
        ("bad/1", "bad/1/model.onnx cannot be served: it is not an ONNX graph.")
    ]
    assert await client.is_model_ready("scaled")
    assert await server.status() == "SERVING"


@pytest.mark.parametrize("name", ["ResNet50", "resnet50-v1.7"])
async def test_every_rpc_of_the_protocol_takes_the_models_own_name_and_no_other(
    server: Running, client: Any, repository: Path, name: str
):
    put(repository, scaled(), name=name)
    await server.application.catalogue.follow()
    await asked(client, name, given(np.ones((1, 3), np.float32)))
    assert (await client.get_model_metadata(name)).name == name
    assert (await client.get_model_config(name)).config.name == name
    [counted] = (await client.get_inference_statistics(name)).model_stats
    assert (counted.name, counted.inference_stats.success.count) == (name, 1)
    await client.update_trace_settings(name, {"trace_rate": "7"})
    assert (await client.get_trace_settings(name)).settings["trace_rate"].value == ["7"]
    assert await state_of(client, name) == "READY"
    await client.unload_model(name)
    assert await state_of(client, name) == "UNAVAILABLE"
    for other in (f"{name}.model", f"{name}.decode", name.swapcase()):
        assert (await refusal(client.load_model(other)))[0] == "NOT_FOUND"
        assert not await client.is_model_ready(other)
    await client.load_model(name)
    assert await client.is_model_ready(name)


async def state_of(client: Any, name: str) -> str:
    """The state of a model in the index, where it is once."""
    models = (await client.get_model_repository_index()).models
    [state] = [each.state for each in models if each.name == name]
    return str(state)


async def test_a_stream_takes_the_models_own_name(client: Any):
    values = np.ones((1, 3), np.float32)

    async def requests() -> AsyncIterator[Any]:
        yield {"model_name": "scaled", "inputs": [given(values)]}

    [(result, error)] = [answer async for answer in client.stream_infer(requests())]
    assert error is None
    np.testing.assert_array_equal(result.as_numpy("y"), 2 * values)


async def test_tritons_metrics_have_the_models_own_name(client: Any, until: Any):
    await asked(client, "joined_up", *(given(np.ones(3, np.float32), name) for name in ("left", "right")))
    labels = {"model": "joined_up", "version": "1"}
    await until(lambda: REGISTRY.get_sample_value("nv_inference_request_success", labels))


async def test_a_configuration_for_triton_is_not_read_and_the_log_says_so_once(
    server: Running, client: Any, repository: Path
):
    for version in (1, 2):
        put(repository, scaled(), name="dec", version=version)
    (repository / "dec" / "config.pbtxt").write_text("max_batch_size: 1")
    with capture_logs() as lines:
        await server.application.catalogue.follow()
    [line] = [line for line in lines if line.get("file") == "dec/config.pbtxt"]
    assert (line["log_level"], "is not read" in line["event"]) == ("info", True)
    assert (await client.get_model_config("dec")).config.max_batch_size > 1


async def test_a_model_of_several_files_is_named_among_those_left_out(server: Running, repository: Path):
    (repository / "dec").mkdir()
    for name in ("a.onnx", "b.onnx"):
        (repository / "dec" / name).write_bytes(scaled())
    await server.application.catalogue.follow()
    [left_out] = (await server.models.List(models_pb2.ListModelsRequest())).left_out
    assert (left_out.place, "dec has 2 ONNX files" in left_out.reason) == ("dec/1", True)


async def test_load_and_unload_work_as_with_every_model(server: Running, client: Any):
    await server.models.Unload(models_pb2.UnloadModelRequest(name="joined_up"))
    assert not await client.is_model_ready("joined_up")
    await server.models.Load(models_pb2.LoadModelRequest(name="joined_up"))
    assert await client.is_model_ready("joined_up")


MODEL = types_pb2.ModelVersion(name="scaled")
PICTURES = {
    "Draw": images_pb2.DrawRequest(model=MODEL),
    "DrawStream": images_pb2.DrawStreamRequest(model=MODEL),
    "Encode": images_pb2.EncodeRequest(model=MODEL),
    "Decode": images_pb2.DecodeRequest(model=MODEL),
    "Reconstruct": images_pb2.ReconstructRequest(model=MODEL),
    "Interpolate": images_pb2.InterpolateRequest(model=MODEL),
    "Sweep": images_pb2.SweepRequest(model=MODEL),
    "Score": images_pb2.ScoreRequest(model=MODEL),
}


@pytest.mark.parametrize("method", PICTURES)
async def test_requests_for_images_are_refused_in_one_way(server: Running, method: str):
    refusal = await refused(getattr(server.images, method)(PICTURES[method]))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "NO_IMAGES")
    assert refusal.message.endswith(
        "scaled is an ONNX file and has no images: ask it by the Open Inference Protocol."
    )


async def test_jobs_are_refused_in_the_same_way(server: Running):
    assert (await refused(server.jobs.Submit(jobs_pb2.SubmitRequest(model=MODEL)))).reason == "NO_IMAGES"
