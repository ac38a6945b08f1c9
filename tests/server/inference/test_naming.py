"""Names and versions of the protocol's models: every graph of a served version is one."""

import pytest
import tritonclient.grpc.aio as triton_aio

from smalti.runtime.manifest import LARGEST_VERSION
from tests.server.inference.conftest import refusal
from tests.server.inference.test_inferring import DECODE, latents
from tests.server.inference.test_streaming import asked, responses_to
from tests.server.toys import write_vae


@pytest.mark.parametrize(
    "name",
    [
        "toy-vae.encode",
        "toy-vae.decode",
        "toy-vae.score",
        "toy-gan.generate",
        "toy-gan.discriminate",
        "toy-pixel-rnn.draw",
    ],
)
async def test_every_graph_is_a_model(client, name):
    assert await client.is_model_ready(name)
    assert await client.is_model_ready(name, "1")
    metadata = await client.get_model_metadata(name)
    assert (metadata.name, list(metadata.versions)) == (name, ["1"])


async def test_the_graph_that_only_workers_run_is_no_model(client):
    assert not await client.is_model_ready("toy-pixel-rnn.draw_row")


@pytest.mark.parametrize(
    "name", ["", "toy-vae", "toy-vae.", ".decode", "toy-vae.decode.", "../toy-vae.decode"]
)
async def test_a_name_that_no_model_has_is_not_ready_and_not_found(client, name):
    assert not await client.is_model_ready(name)
    assert await refusal(client.get_model_metadata(name)) == (
        "NOT_FOUND",
        f"Request for unknown model: '{name}' is not found.",
    )


async def test_no_version_means_the_latest(start_server, repository):
    for number in (2, 10):
        write_vae(repository, version=number)
    async with start_server() as server, triton_aio.InferenceServerClient(server.address) as client:
        assert list((await client.get_model_metadata(DECODE)).versions) == ["1", "2", "10"]
        for asked_for, answered_by in {"": "10", "1": "1", "2": "2", "10": "10"}.items():
            result = await client.infer(DECODE, latents(), model_version=asked_for)
            assert result.get_response().model_version == answered_by
            [(result, _)] = await responses_to(client, [asked(model_version=asked_for)])
            assert result.get_response().model_version == answered_by


async def test_a_version_that_the_model_does_not_have_is_not_ready_and_not_found(client):
    assert not await client.is_model_ready("toy-vae.decode", "7")
    assert await refusal(client.get_model_metadata("toy-vae.decode", "7")) == (
        "NOT_FOUND",
        "Request for unknown model: 'toy-vae.decode' version 7 is not found.",
    )


@pytest.mark.parametrize("version", ["0", "-1", "one", "1.0", "99999999999999999999", "1" * 400])
async def test_a_version_is_a_whole_number_above_0_up_to_a_limit(client, version):
    for call in (client.is_model_ready, client.get_model_metadata):
        code, message = await refusal(call("toy-vae.decode", version))
        assert code == "INVALID_ARGUMENT"
        assert f"failed to get model version from specified version string '{version[:149]}" in message
        assert message.endswith(f"a version is a whole number from 1 to {LARGEST_VERSION}.")


async def test_metadata_names_datatypes_and_shapes_with_the_batch_in_front(client):
    metadata = await client.get_model_metadata("toy-vae.decode", as_json=True)
    assert metadata["platform"] == "onnxruntime_onnx"
    assert metadata["inputs"] == [{"name": "latent", "datatype": "FP32", "shape": ["-1", "3"]}]
    assert metadata["outputs"] == [{"name": "pixels", "datatype": "INT64", "shape": ["-1", "4", "5"]}]


async def test_metadata_of_a_drawing_has_no_batch(client):
    metadata = await client.get_model_metadata("toy-pixel-rnn.draw", as_json=True)
    assert metadata["inputs"] == [
        {"name": "seed", "datatype": "UINT64", "shape": ["1"]},
        {"name": "temperature", "datatype": "FP32", "shape": ["1"]},
        {"name": "prefix", "datatype": "INT64", "shape": ["-1"]},
    ]
    assert [output["name"] for output in metadata["outputs"]] == ["row", "pixels", "seed"]
