import asyncio
import json
import shutil
from pathlib import Path

import pytest

from smalti.runtime.manifest import MANIFEST
from smalti.v1 import images_pb2, models_pb2, types_pb2
from tests.server.conftest import Running, refused
from tests.server.toys import LATENT, PALETTE, lie, reseal, write_vae


async def names(server: Running) -> list[tuple[str, int]]:
    reply = await server.models.List(models_pb2.ListModelsRequest())
    return [(model.name, model.version) for model in reply.models]


def draw(server: Running, version: int = 0, count: int = 1):
    model = types_pb2.ModelVersion(name="toy-vae", version=version)
    return server.images.Draw(images_pb2.DrawRequest(model=model, count=count))


async def test_every_version_in_the_repository_is_listed(server: Running):
    assert await names(server) == [("toy-gan", 1), ("toy-pixel-rnn", 1), ("toy-vae", 1)]


async def test_a_misspelt_name_is_answered_with_the_right_name(server: Running):
    for wrong, meant in (("toy-vea", "toy-vae"), ("Toy-Gann", "toy-gan"), ("rnn", "toy-pixel-rnn")):
        for call in (models_pb2.GetModelRequest, models_pb2.LoadModelRequest):
            method = server.models.Get if call is models_pb2.GetModelRequest else server.models.Load
            refusal = await refused(method(call(name=wrong)))
            assert f"(did you mean {meant}?)" in refusal.message
    assert "did you mean" not in (await refused(draw(server, version=7))).message
    assert (
        "did you mean" not in (await refused(server.models.Get(models_pb2.GetModelRequest(name="q")))).message
    )


async def test_a_model_is_described_with_its_whole_manifest(server: Running):
    reply = await server.models.Get(models_pb2.GetModelRequest(name="toy-vae"))
    model = reply.model
    assert (model.family, model.height, model.width, model.latent_size) == ("vae", 4, 5, LATENT)
    assert (tuple(model.palette), list(model.graphs)) == (PALETTE, ["decode", "encode", "score"])
    assert len(model.digest) == 64
    assert json.loads(reply.manifest_json)["parity"]["pixels_equal"] is True


async def test_load_serves_a_new_version_as_the_latest(server: Running, repository: Path):
    write_vae(repository, version=2)
    reply = await server.models.Load(models_pb2.LoadModelRequest(name="toy-vae"))
    assert reply.model.version == 2
    assert (await draw(server)).model.version == 2
    assert (await draw(server, version=1)).model.version == 1


async def test_loading_a_served_model_changes_nothing(server: Running):
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


async def test_requests_during_an_unload_are_answered_or_refused(server: Running):
    calls = [asyncio.ensure_future(draw(server)) for _ in range(50)]
    await server.models.Unload(models_pb2.UnloadModelRequest(name="toy-vae"))
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        code = getattr(outcome, "code", lambda: None)()
        assert code is None or code.name in {"NOT_FOUND", "UNAVAILABLE"}


async def test_a_model_whose_file_differs_from_its_digest_is_refused(server: Running, repository: Path):
    write_vae(repository, version=2)
    (repository / "toy-vae" / "2" / "decode.onnx").write_bytes(b"something else")
    refusal = await refused(server.models.Load(models_pb2.LoadModelRequest(name="toy-vae", version=2)))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "REPOSITORY_DAMAGED")
    assert (await draw(server)).model.version == 1


async def test_load_serves_the_latest_version_that_is_not_damaged(server: Running, repository: Path):
    for version in (2, 3, 4):
        write_vae(repository, version=version)
    (repository / "toy-vae" / "2" / MANIFEST).write_text(
        (repository / "toy-vae" / "1" / MANIFEST).read_text()
    )
    reseal(repository / "toy-vae" / "3", lie)
    (repository / "toy-vae" / "4" / "decode.onnx").write_bytes(b"half")
    await server.models.Unload(models_pb2.UnloadModelRequest(name="toy-vae"))
    reply = await server.models.Load(models_pb2.LoadModelRequest(name="toy-vae"))
    assert (reply.model.version, (await draw(server)).model.version) == (1, 1)
    said = await left_out(server)
    assert [each.split(":")[0] for each in said] == ["toy-vae/2", "toy-vae/3", "toy-vae/4"]
    assert "belongs to toy-vae version 1, not to its folder" in said[0]
    change(
        repository, "toy-vae/1", palette=["red"]
    )  # now every version is damaged, and the error is about the latest
    refusal = await refused(server.models.Load(models_pb2.LoadModelRequest(name="toy-vae")))
    assert "toy-vae version 4: decode.onnx differs" in refusal.message


async def test_a_name_never_becomes_a_path(server: Running):
    for name in ("../models/toy-vae", "/etc", ".", "toy-vae/1", "toy-vae\0"):
        for call in (
            server.models.Load(models_pb2.LoadModelRequest(name=name)),
            server.models.Unload(models_pb2.UnloadModelRequest(name=name)),
            server.models.Get(models_pb2.GetModelRequest(name=name)),
        ):
            assert (await refused(call)).reason == "MODEL_NOT_FOUND"


async def test_a_damaged_model_leaves_the_others_served(start_server, repository: Path):
    (repository / "toy-gan" / "1" / "generate.onnx").write_bytes(b"something else")
    async with start_server() as server:
        assert await names(server) == [("toy-pixel-rnn", 1), ("toy-vae", 1)]
        assert await server.status("toy-gan") == "NOT_SERVING"
        assert await server.status("toy-vae") == "SERVING"
        await draw(server)


# The repository changes while the server runs


def change(repository: Path, place: str, **values: object) -> None:
    """Change values in a manifest."""
    manifest = repository / place / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | values))


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the server look into its repository all the time."""
    monkeypatch.setattr("server.application.LOOK_SECONDS", 0.02)


async def left_out(server: Running) -> list[str]:
    reply = await server.models.List(models_pb2.ListModelsRequest())
    return [f"{each.place}: {each.reason}" for each in reply.left_out]


async def test_a_new_export_is_served_without_a_load(looking: None, server: Running, repository: Path, until):
    write_vae(repository, version=2)
    write_vae(repository, name="new-vae")
    assert await until(lambda: drawn_with(server, 2))
    await until(lambda: is_served(server, "new-vae"))
    assert await server.status("new-vae") == "SERVING"


async def test_an_export_that_replaces_another_is_served_with_and_without_a_load(
    looking: None, server: Running, repository: Path, until
):
    before = (await draw(server)).model.digest
    replace_vae(repository, "#010101")
    after = await until(lambda: other_digest(server, before))
    assert (await server.models.Get(models_pb2.GetModelRequest(name="toy-vae"))).model.palette[0] == "#010101"
    replace_vae(repository, "#020202")
    reply = await server.models.Load(models_pb2.LoadModelRequest(name="toy-vae"))
    assert reply.model.palette[0] == "#020202"
    assert (await draw(server)).model.digest == reply.model.digest != after


async def test_requests_during_a_replacement_are_answered_or_told_to_try_again(
    server: Running, repository: Path
):
    calls = [asyncio.ensure_future(draw(server)) for _ in range(50)]
    replace_vae(repository, "#010101")
    await server.models.Load(models_pb2.LoadModelRequest(name="toy-vae"))
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        code = getattr(outcome, "code", lambda: None)()
        assert code is None or code.name == "UNAVAILABLE"


async def test_new_figures_of_a_served_model_appear_without_loading_it_again(
    looking: None, server: Running, repository: Path, until
):
    served = server.application.catalogue.get("toy-vae")
    change(repository, "toy-vae/1", figures={"test_images": 7})
    await until(lambda: served.manifest.figures == {"test_images": 7})
    assert server.application.catalogue.get("toy-vae") is served


async def test_a_model_that_vanishes_from_the_repository_is_still_served(server: Running, repository: Path):
    shutil.rmtree(repository / "toy-vae")
    await server.application.catalogue.follow()
    assert (await draw(server)).model.version == 1


async def test_an_unloaded_model_comes_back_only_when_its_files_change(server: Running, repository: Path):
    await server.models.Unload(models_pb2.UnloadModelRequest(name="toy-vae"))
    await server.application.catalogue.follow()
    assert not await is_served(server, "toy-vae")
    change(repository, "toy-vae/1", variant="another")
    await server.application.catalogue.follow()
    assert await is_served(server, "toy-vae")


async def test_a_version_loaded_and_unloaded_between_two_looks_stays_unloaded(
    server: Running, repository: Path
):
    write_vae(repository, version=2)
    await server.models.Load(models_pb2.LoadModelRequest(name="toy-vae"))
    await server.models.Unload(models_pb2.UnloadModelRequest(name="toy-vae", version=2))
    await server.application.catalogue.follow()
    assert ("toy-vae", 2) not in await names(server)


async def test_a_half_copied_export_is_served_as_soon_as_it_is_complete(server: Running, repository: Path):
    write_vae(repository, name="new-vae")
    graph = repository / "new-vae" / "1" / "decode.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:100])
    await server.application.catalogue.follow()
    assert not await is_served(server, "new-vae")
    graph.write_bytes(whole)
    await server.application.catalogue.follow()
    assert await is_served(server, "new-vae")


async def test_a_damaged_export_leaves_the_good_one_before_it_served(server: Running, repository: Path):
    change(repository, "toy-vae/1", latent_size=-5)
    await server.application.catalogue.follow()
    assert (await draw(server)).model.version == 1
    [said] = await left_out(server)
    assert said.startswith(
        "toy-vae/1: toy-vae/1/manifest.json is not a manifest that this smalti can read: latent_size is -5"
    )


BAD: dict[str, dict[str, object]] = {
    "a negative latent": {"latent_size": -5},
    "a version that no message holds": {"version": 2**40},
    "a colour that is none": {"palette": ["#000000", "blue"]},
    "graphs that are none": {"graphs": {"decode": 1}},
    "a graph of another family": {"family": "pixel_rnn"},
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_manifest_leaves_out_its_own_model_only(start_server, repository: Path, bad: str):
    change(repository, "toy-vae/1", **BAD[bad])
    async with start_server(ready="toy-gan") as server:
        assert await names(server) == [("toy-gan", 1), ("toy-pixel-rnn", 1)]
        assert [said.split(":")[0] for said in await left_out(server)] == ["toy-vae/1"]
        assert await server.status("toy-vae") == "NOT_SERVING"
        for call in (server.models.Load(models_pb2.LoadModelRequest(name="toy-vae")), draw(server)):
            refusal = await refused(call)
            assert refusal.code in {"FAILED_PRECONDITION", "NOT_FOUND"}
            assert "toy-vae/1" in refusal.message  # what is wrong with it
            assert str(repository) not in refusal.message


async def test_a_model_with_a_wrong_input_name_is_left_out(start_server, repository: Path):
    manifest = repository / "toy-gan" / "1" / MANIFEST
    manifest.write_text(manifest.read_text().replace('"latent"', '"latnet"'))
    async with start_server(ready="toy-vae") as server:
        assert await names(server) == [("toy-pixel-rnn", 1), ("toy-vae", 1)]
        [said] = await left_out(server)
        assert "it says of graph 'generate' that it has no input 'latent'" in said


async def test_a_graph_with_a_wrong_output_shape_is_left_out(start_server, repository: Path):
    reseal(repository / "toy-vae" / "1", lie)
    async with start_server(ready="toy-gan") as server:
        [said] = await left_out(server)
        assert "decode.onnx: its output 'pixels' came as (1, 5, 4), not as (1, 4, 5)" in said


@pytest.mark.parametrize("colours", [2, 3])
async def test_a_model_whose_palette_is_too_short_is_refused_before_it_draws(
    server: Running, repository: Path, colours: int
):
    replace_vae(repository, "#010101", colours=colours)
    refusal = await refused(server.models.Load(models_pb2.LoadModelRequest(name="toy-vae")))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "REPOSITORY_DAMAGED")
    assert "toy-vae version 1: its network knows more colours than its palette has" in refusal.message


async def test_a_server_without_models_is_not_ready_until_one_arrives(
    looking: None, start_server, repository: Path, until
):
    shutil.rmtree(repository)
    async with start_server(ready="smalti.v1.JobService") as server:
        assert await server.status() == "NOT_SERVING"
        write_vae(repository)
        await until(lambda: is_served(server, "toy-vae"))
        assert await server.status() == "SERVING"


def missing(folder: Path) -> None:
    (folder / "decode.onnx").unlink()


def no_graph(folder: Path) -> None:
    (folder / "decode.onnx").write_bytes(b"no graph")


def a_link(folder: Path) -> None:
    missing(folder)
    (folder / "decode.onnx").symlink_to("/etc/passwd")


def no_json(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"{")


def no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


@pytest.mark.parametrize("spoil", [missing, no_graph, a_link, no_json, no_manifest])
async def test_no_error_about_a_model_contains_a_path_of_the_server(server: Running, repository: Path, spoil):
    write_vae(repository, version=2)
    spoil(repository / "toy-vae" / "2")
    refusal = await refused(server.models.Load(models_pb2.LoadModelRequest(name="toy-vae", version=2)))
    assert refusal.code in {"FAILED_PRECONDITION", "NOT_FOUND"}
    assert str(repository) not in refusal.message
    assert "\n" not in refusal.message


def replace_vae(repository: Path, colour: str, *, colours: int = 4) -> None:
    """Export the toy VAE again in the same place, with another first colour."""
    shutil.rmtree(repository / "toy-vae")
    write_vae(repository)
    change(repository, "toy-vae/1", palette=[colour, *PALETTE[1:colours]])


async def is_served(server: Running, name: str) -> bool:
    return name in {served for served, _ in await names(server)}


async def drawn_with(server: Running, version: int) -> bool:
    return bool((await draw(server)).model.version == version)


async def other_digest(server: Running, before: str) -> str:
    digest = (await draw(server)).model.digest
    return "" if digest == before else digest
