import asyncio
import json
from pathlib import Path

from smalti.v1 import images_pb2, models_pb2, types_pb2
from tests.server.conftest import Running, refused
from tests.server.toys import LATENT, PALETTE, write_vae


async def names(server: Running) -> list[tuple[str, int]]:
    reply = await server.models.List(models_pb2.ListModelsRequest())
    return [(model.name, model.version) for model in reply.models]


def draw(server: Running, version: int = 0):
    model = types_pb2.ModelVersion(name="toy-vae", version=version)
    return server.images.Draw(images_pb2.DrawRequest(model=model))


async def test_every_version_in_the_repository_is_listed(server: Running):
    assert await names(server) == [("toy-gan", 1), ("toy-pixel-rnn", 1), ("toy-vae", 1)]


async def test_a_model_is_described_with_its_whole_manifest(server: Running):
    reply = await server.models.Get(models_pb2.GetModelRequest(name="toy-vae"))
    model = reply.model
    assert (model.family, model.height, model.width, model.latent_size) == ("vae", 4, 5, LATENT)
    assert (tuple(model.palette), list(model.graphs)) == (PALETTE, ["decode", "encode", "score"])
    assert len(model.digest) == 64
    assert json.loads(reply.manifest_json)["parity"]["pixels_equal"] is True


async def test_a_version_put_there_later_is_served_after_load_as_the_latest(
    server: Running, repository: Path
):
    write_vae(repository, version=2)
    assert (await draw(server)).model.version == 1
    reply = await server.models.Load(models_pb2.LoadModelRequest(name="toy-vae"))
    assert reply.model.version == 2
    assert (await draw(server)).model.version == 2
    assert (await draw(server, version=1)).model.version == 1


async def test_loading_what_is_served_changes_nothing(server: Running):
    calls = [server.models.Load(models_pb2.LoadModelRequest(name="toy-vae")) for _ in range(5)]
    assert {reply.model.version for reply in await asyncio.gather(*calls)} == {1}
    assert len(await names(server)) == 3


async def test_an_unloaded_model_is_gone_until_it_is_loaded_again(server: Running):
    await server.models.Unload(models_pb2.UnloadModelRequest(name="toy-vae"))
    assert ("toy-vae", 1) not in await names(server)
    assert (await refused(draw(server))).reason == "MODEL_NOT_FOUND"
    assert await server.status("toy-vae") == "NOT_SERVING"
    assert await server.status() == "SERVING"
    await server.models.Load(models_pb2.LoadModelRequest(name="toy-vae"))
    assert (await draw(server)).model.version == 1
    assert await server.status("toy-vae") == "SERVING"


async def test_unloading_one_version_leaves_the_others(server: Running, repository: Path):
    write_vae(repository, version=2)
    await server.models.Load(models_pb2.LoadModelRequest(name="toy-vae", version=2))
    await server.models.Unload(models_pb2.UnloadModelRequest(name="toy-vae", version=2))
    assert (await draw(server)).model.version == 1
    assert await server.status("toy-vae") == "SERVING"


async def test_requests_that_run_while_their_model_is_unloaded_are_answered_or_refused(server: Running):
    calls = [asyncio.ensure_future(draw(server)) for _ in range(50)]
    await server.models.Unload(models_pb2.UnloadModelRequest(name="toy-vae"))
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        code = getattr(outcome, "code", lambda: None)()
        assert code is None or code.name in {"NOT_FOUND", "UNAVAILABLE"}


async def test_a_model_whose_file_differs_from_its_digest_is_refused(server: Running, repository: Path):
    write_vae(repository, version=2)
    (repository / "toy-vae" / "2" / "decode.onnx").write_bytes(b"something else")
    refusal = await refused(server.models.Load(models_pb2.LoadModelRequest(name="toy-vae")))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "REPOSITORY_DAMAGED")
    assert (await draw(server)).model.version == 1


async def test_a_name_never_becomes_a_path(server: Running):
    for name in ("../models/toy-vae", "/etc", ".", "toy-vae/1", "toy-vae\0"):
        for call in (
            server.models.Load(models_pb2.LoadModelRequest(name=name)),
            server.models.Unload(models_pb2.UnloadModelRequest(name=name)),
            server.models.Get(models_pb2.GetModelRequest(name=name)),
        ):
            assert (await refused(call)).reason == "MODEL_NOT_FOUND"


async def test_a_damaged_model_does_not_keep_the_others_from_being_served(start_server, repository: Path):
    (repository / "toy-gan" / "1" / "generate.onnx").write_bytes(b"something else")
    async with start_server(ready="toy-vae") as server:
        assert await names(server) == [("toy-pixel-rnn", 1), ("toy-vae", 1)]
        assert await server.status("toy-gan") == "NOT_SERVING"
        assert await server.status() == "SERVING"
        await draw(server)
