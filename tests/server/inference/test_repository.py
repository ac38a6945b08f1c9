"""RepositoryIndex, RepositoryModelLoad and RepositoryModelUnload, asked by Triton's own client."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from smalti.v1 import models_pb2
from tests.server.inference.conftest import refusal
from tests.server.toys import write_vae

VAE = ["toy-vae.decode", "toy-vae.encode", "toy-vae.score"]
OTHERS = ["toy-gan.discriminate", "toy-gan.generate", "toy-pixel-rnn.draw"]


async def index(client: Any) -> dict[tuple[str, str], tuple[str, str]]:
    """State and reason of every name and version."""
    found = await client.get_model_repository_index()
    return {(each.name, each.version): (each.state, each.reason) for each in found.models}


async def ready(client: Any) -> list[str]:
    """The names of the models in an index of ready models, asked as its callers do."""
    return [name for (name, _), (state, _) in (await index(client)).items() if state == "READY"]


async def test_every_graph_is_in_the_index(client):
    assert await index(client) == {(name, "1"): ("READY", "") for name in sorted(VAE + OTHERS)}


async def test_unloading_one_graph_unloads_every_graph_and_version_of_its_model(
    client, server, repository, until
):
    write_vae(repository, version=2)
    await until(lambda: client.is_model_ready("toy-vae.decode", "2"))
    await client.unload_model("toy-vae.decode")
    states = await index(client)
    assert [states[name, version] for name in VAE for version in "12"] == [("UNAVAILABLE", "unloaded")] * 6
    assert not await client.is_model_ready("toy-vae.encode")
    assert await server.status("toy-vae") == "NOT_SERVING"
    assert await ready(client) == OTHERS


async def test_loading_one_graph_serves_every_graph_and_version_of_its_model(client, repository, until):
    write_vae(repository, version=2)
    await until(lambda: client.is_model_ready("toy-vae.decode", "2"))
    await client.unload_model("toy-vae.score", unload_dependents=True)
    await client.load_model("toy-vae.encode")
    for name in VAE:
        assert await client.is_model_ready(name, "1")
        assert await client.is_model_ready(name, "2")


async def test_loading_and_unloading_again_changes_nothing(client):
    await client.load_model("toy-vae.decode")
    assert await client.is_model_ready("toy-vae.decode")
    for _ in range(2):
        await client.unload_model("toy-vae.decode")
        assert not await client.is_model_ready("toy-vae.decode")


async def test_what_modelservice_unloads_is_unavailable(client, server):
    await server.models.Unload(models_pb2.UnloadModelRequest(name="toy-gan"))
    assert await ready(client) == ["toy-pixel-rnn.draw", *VAE]


async def test_a_version_that_is_left_out_says_why(client, repository: Path, until):
    damaged = repository / "toy-vae" / "2"
    write_vae(repository, version=2)
    (damaged / "decode.onnx").write_bytes(b"not what the manifest says")

    async def left_out() -> str:
        state, reason = (await index(client)).get(("toy-vae.decode", "2"), ("", ""))
        return reason if state == "UNAVAILABLE" and reason != "loading" else ""

    assert "decode.onnx differs from its manifest's SHA-256" in await until(left_out)


async def test_a_request_for_what_is_not_served_says_why(client, repository: Path, until):
    write_vae(repository, version=2)
    (repository / "toy-vae" / "2" / "decode.onnx").write_bytes(b"not what the manifest says")
    await until(lambda: says_why(client, "toy-vae.decode", "2"))
    code, message = await refusal(client.infer("toy-vae.decode", [], model_version="2"))
    start = "Request for unknown model: 'toy-vae.decode' version 2 is not at ready state: "
    assert (code, message.startswith(start)) == ("UNAVAILABLE", True)
    assert "decode.onnx differs" in message
    await client.unload_model("toy-gan.generate")
    assert await refusal(client.infer("toy-gan.generate", [])) == (
        "NOT_FOUND",
        "Request for unknown model: 'toy-gan.generate' has no available versions: unloaded",
    )


async def says_why(client: Any, name: str, version: str) -> bool:
    """Whether the index knows why this version is not served."""
    state, reason = (await index(client)).get((name, version), ("", ""))
    return state == "UNAVAILABLE" and reason != "loading"


async def test_a_model_that_goes_on_as_before_is_ready_and_says_what_is_wrong_now(
    client, repository: Path, until
):
    (repository / "toy-vae" / "serving.toml").write_text("[decode]\nmax_batch_size = 0")

    async def fault() -> str:
        state, reason = (await index(client))["toy-vae.decode", "1"]
        assert state == "READY"
        return reason

    assert "max_batch_size is 0, but must be at least 1" in await until(fault)
    assert (await index(client))["toy-gan.generate", "1"] == ("READY", "")


async def test_a_version_whose_manifest_cannot_be_read_goes_by_the_name_of_its_model(
    client, repository: Path, until
):
    broken = repository / "broken" / "7"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")

    async def left_out() -> str:
        state, reason = (await index(client)).get(("broken", "7"), ("", ""))
        return reason if state == "UNAVAILABLE" and reason != "loading" else ""

    assert "is not a manifest that this smalti can read" in await until(left_out)
    code, message = await refusal(client.load_model("broken.decode"))
    assert (code, "is not a manifest" in message) == ("FAILED_PRECONDITION", True)


@pytest.mark.parametrize(
    "name", ["toy-cat.decode", "toy-vae", "toy-vae.draw_row", "", "../toy-vae.decode", "x" * 9999]
)
async def test_a_name_that_no_model_has_is_neither_loaded_nor_unloaded(client, name):
    for call in (client.load_model, client.unload_model):
        code, message = await refusal(call(name))
        assert (code, "failed to poll from model repository" in message) == ("NOT_FOUND", True)
    assert await ready(client) == sorted(VAE + OTHERS)


async def test_a_load_that_brings_its_own_model_is_refused(client):
    for given in ({"config": json.dumps({"max_batch_size": 3})}, {"files": {"file:1/model.onnx": b"onnx"}}):
        code, message = await refusal(client.load_model("toy-vae.decode", **{"config": "{}"} | given))
        assert (code, "put the files there" in message) == ("INVALID_ARGUMENT", True)


async def test_parameters_that_are_not_there_are_refused(rpc):
    for name, parameters, said in [
        ("RepositoryModelLoad", {"colour": {"bool_param": True}}, "no load parameter 'colour'"),
        ("RepositoryModelUnload", {"colour": {"bool_param": True}}, "no unload parameter 'colour'"),
        ("RepositoryModelUnload", {"unload_dependents": {"int64_param": 1}}, "expected bool_param"),
    ]:
        with pytest.raises(grpc.aio.AioRpcError, match=said) as refused:
            await rpc(name, model_name="toy-vae.decode", parameters=parameters)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"])
async def test_there_is_only_one_repository(rpc, name):
    with pytest.raises(grpc.aio.AioRpcError, match="'repository_name' specification") as refused:
        await rpc(name, repository_name="mine")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_index_of_ready_models_leaves_the_others_out(client, rpc):
    await client.unload_model("toy-vae.decode")
    models = (await rpc("RepositoryIndex", ready=True)).models
    assert [model.name for model in models] == OTHERS
